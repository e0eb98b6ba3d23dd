"""Presets: complete, valid, independent of params.yaml, and read by DVC as written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values
from rhobeta.cli import main
from rhobeta.config.params import check_params, flatten
from rhobeta.config.presets import (
    as_override,
    overlaid,
    preset_names,
    preset_title,
    read_preset,
    run_preset,
)
from rhobeta.errors import RhobetaError

FOLDER = REPOSITORY / "presets"
OVERLAYS = REPOSITORY / "experiments" / "overlays"
FILES = [
    pytest.param(folder, name, id=name)
    for folder in (FOLDER, OVERLAYS)
    for name in preset_names(folder)
]


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_preset_names_every_parameter_of_a_model(folder: Path, name: str) -> None:
    values = read_preset(folder, name)
    sections = ("model", "penalty", "topk", "training")
    shipped = shipped_values()
    needed = {f"{section}.{key}" for section in sections for key in shipped[section]}
    # The seed is the user's.
    assert needed - {"training.seed"} <= values.keys()


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_preset_values_do_not_depend_on_params_yaml(folder: Path, name: str) -> None:
    values = read_preset(folder, name)
    changed = shipped_values()
    changed["model"] |= {"hidden_sizes": [7], "tied_weights": True}
    changed["penalty"] |= {"rho": 0.3, "beta": 0.5, "target": None}
    changed["training"] |= {"noise": 0.7, "epochs": 3}
    changed["evaluate"] |= {"l0_thresholds": [0.3]}
    for now in (shipped_values(), changed):
        leaves = flatten(overlaid(now, values, name=name))
        assert {path: leaves[path] for path in values} == values


@pytest.mark.parametrize("name", preset_names(FOLDER))
def test_preset_has_a_title(name: str) -> None:
    assert 20 < len(preset_title(FOLDER, name)) <= 100


@pytest.mark.parametrize("name", preset_names(FOLDER))
def test_dvc_reads_a_preset_as_its_file_does(name: str, tmp_path: Path) -> None:
    overlay = read_preset(FOLDER, name)
    file = tmp_path / "params.yaml"
    file.write_text((REPOSITORY / "params.yaml").read_text())
    apply_overrides(file, [f"{path}={as_override(value)}" for path, value in overlay.items()])
    values: dict[str, Any] = YAML(typ="safe").load(file.read_text())
    found = {path: values[path.split(".")[0]][path.split(".")[1]] for path in overlay}
    assert found == overlay


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (False, "false"), (2e-7, "2e-07"), ([128, 64], "[128,64]")],
)
def test_as_override_of_each_type(value: Any, text: str) -> None:
    assert as_override(value) == text


def test_unknown_preset_gets_the_nearest_name() -> None:
    with pytest.raises(RhobetaError, match=r"'k-sparze'; known: .* Did you mean k-sparse\?"):
        read_preset(FOLDER, "k-sparze")


def test_preset_extends_a_file_relative_to_its_own(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("model: {hidden_sizes: [3]}\npenalty: {rho: 0.1, beta: 1}")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\npenalty: {beta: 2}\n")
    assert read_preset(tmp_path, "mine") == {
        "model.hidden_sizes": [3],
        "penalty.rho": 0.1,
        "penalty.beta": 2,
    }


@pytest.mark.parametrize("content", ["", "5\n", "model: 3\n", "[1, 2]\n"])
def test_file_without_sections_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(RhobetaError, match=r"mine\.yaml is no preset"):
        read_preset(tmp_path, "mine")


@pytest.mark.parametrize(
    ("base", "fault"),
    [
        ("5", "found 5"),
        ("gone.yaml", r"mine\.yaml extends gone\.yaml, which is missing"),
        ("mine.yaml", "which extends a file itself"),
    ],
)
def test_preset_of_a_wrong_base_is_refused(base: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"extends: {base}\n")
    with pytest.raises(RhobetaError, match=fault):
        read_preset(tmp_path, "mine")


def test_preset_with_an_invalid_value_is_refused_by_name() -> None:
    with pytest.raises(RhobetaError, match=r"preset mine is refused:\n  penalty\.rho: found 2"):
        overlaid(shipped_values(), {"penalty.rho": 2}, name="mine")


def test_presets_command_lists_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert main(["presets"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == preset_names(FOLDER)


def test_presets_command_shows_one_beside_params_yaml(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert main(["presets", "k-sparse"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == preset_title(FOLDER, "k-sparse")
    now = flatten(check_params(shipped_values(), where="params.yaml"))
    values = read_preset(FOLDER, "k-sparse")
    for path, value in values.items():
        (line,) = [line for line in lines if line.startswith(f"{path}: ")]
        shown, _, other = line.partition(" # params.yaml: ")
        assert shown.rstrip() == f"{path}: {as_override(value)}"
        assert other == ("" if now[path] == value else as_override(now[path]))
    assert main(["presets", "k-sparze"]) == 1
    assert "Did you mean k-sparse?" in capsys.readouterr().err


def test_run_with_an_unknown_preset_ends_before_dvc_starts() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rhobeta", "run", "--preset", "tutorial"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Did you mean tutorial-relu-kl?" in done.stderr
    assert done.stdout == ""


def test_run_without_a_preset_leaves_values_and_name_to_dvc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[list[str]] = []

    def start(command: list[str], **_: Any) -> "subprocess.CompletedProcess[str]":
        started.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", start)
    assert run_preset(REPOSITORY / "params.yaml", FOLDER, None, ["-S", "penalty.rho=0.1"]) == 0
    ((*_, dvc, exp, run, option, value),) = started
    assert [dvc, exp, run, option, value] == ["dvc", "exp", "run", "-S", "penalty.rho=0.1"]


def test_run_with_an_old_parameter_name_is_refused_with_the_new_one() -> None:
    with pytest.raises(RhobetaError, match=r"topk\.revive is topk\.auxk_coef since version 0\.2"):
        run_preset(REPOSITORY / "params.yaml", FOLDER, "k-sparse", ["-S", "topk.revive=0.1"])


def test_only_run_takes_unknown_arguments() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["params", "--shema"])
    assert caught.value.code == 2
