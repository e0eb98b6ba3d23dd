"""Presets: each is whole, fits, and reaches DVC as it stands in its file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values
from rhobeta.cli import main
from rhobeta.config.params import flatten
from rhobeta.config.presets import as_override, overlaid, preset_names, preset_title, read_preset
from rhobeta.errors import RhobetaError

FOLDER = REPOSITORY / "presets"
NAMES = (
    "blog-kl-deep",
    "blog-kl-deep-fixed",
    "blog-plain-deep",
    "blog-tanh-l1",
    "identity",
    "k-sparse",
    "ng-cs294a",
    "slides-l1",
    "tutorial-relu-kl",
)


def test_the_shipped_presets_are_known_by_name() -> None:
    assert preset_names(FOLDER) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_sets_all_that_makes_a_model_and_fits(name: str) -> None:
    overlay = read_preset(FOLDER, name)
    shipped = shipped_values()
    needed = {
        f"{section}.{key}"
        for section in ("model", "penalty", "topk", "training")
        for key in shipped[section]
        if (section, key) != ("training", "seed")
    }
    # Whole, so that a preset means the same whatever params.yaml holds; the seed is the user's.
    of_evaluation = {"evaluate.probe_k", "evaluate.probe_penalty", "evaluate.l0_thresholds"}
    assert needed | {"data.validation_fraction"} | of_evaluation == overlay.keys()
    assert "training.seed" not in overlay
    leaves = flatten(overlaid(shipped, overlay, name=name))
    assert {path: leaves[path] for path in overlay} == overlay


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_in_a_line_what_it_is(name: str) -> None:
    title = preset_title(FOLDER, name)
    assert 20 < len(title) <= 100


@pytest.mark.parametrize("name", NAMES)
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
def test_values_as_dvc_reads_them(value: Any, text: str) -> None:
    assert as_override(value) == text


def test_an_unknown_preset_is_answered_with_the_nearest() -> None:
    with pytest.raises(RhobetaError, match=r"'k-sparze'.* Did you mean k-sparse\?"):
        read_preset(FOLDER, "k-sparze")
    with pytest.raises(RhobetaError, match=r"Known: .*tutorial-relu-kl"):
        read_preset(FOLDER, "nothing like it")


@pytest.mark.parametrize("content", ["", "5\n", "model: 3\n", "[1, 2]\n"])
def test_a_file_that_is_no_overlay_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(content)
    with pytest.raises(RhobetaError, match=r"mine\.yaml is no preset"):
        read_preset(tmp_path, "mine")


def test_a_preset_that_does_not_fit_is_refused_under_its_name() -> None:
    with pytest.raises(RhobetaError, match=r"preset mine is refused:\n  penalty\.rho: found 2"):
        overlaid(shipped_values(), {"penalty.rho": 2}, name="mine")


def test_the_command_lists_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert main(["presets"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(NAMES)


def test_a_misspelt_preset_ends_the_command_before_dvc_starts() -> None:
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


def test_other_commands_take_no_stray_arguments() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["params", "--shema"])
    assert caught.value.code == 2
