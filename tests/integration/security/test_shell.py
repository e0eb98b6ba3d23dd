"""No shell is given text of the user: neither in the source, nor under nasty names."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from dvc.utils.hydra import apply_overrides

from helpers import DIGITS, QUICK, REPOSITORY, STAGES, git, idx_bytes, write_params
from rhobeta.cli import main
from rhobeta.config.presets import as_override, read_preset
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store
from rhobeta.tuning.storage import open_storage, storage_url

SOURCES = sorted((REPOSITORY / "src").rglob("*.py"))
SHELLS = {"system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell", "spawnl"}
CODE = {"eval", "exec", "compile", "__import__"}

NASTY = [
    "it's; touch sprung",
    '"; touch sprung; "',
    "$(touch sprung)",
    "`touch sprung`",
    "a\nb & c",
]


def test_source_has_no_shell_no_eval_and_no_pickle() -> None:
    for node in (node for path in SOURCES for node in ast.walk(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else names
            assert not {"pickle", "marshal", "shelve", "dill"} & set(modules)
        if not isinstance(node, ast.Call):
            continue
        assert not any(word.arg == "shell" for word in node.keywords), ast.unparse(node)
        called = ast.unparse(node.func)
        owner, _, name = called.rpartition(".")
        assert not (name in SHELLS and owner in {"os", "subprocess", "asyncio"}), called
        assert called not in CODE, called
        assert called not in {"joblib.load", "tarfile.extractall"}, called
        if called == "yaml.load":
            assert re.search("Safe|Base", ast.unparse(node)), ast.unparse(node)
        if called == "torch.load":
            # Data alone: it builds nothing but plain values and tensors.
            assert "weights_only=True" in [ast.unparse(word) for word in node.keywords]
        if owner == "subprocess" and name in {"run", "Popen", "call", "check_output"}:
            # A list, or what is built as one: never a line of text.
            assert not isinstance(node.args[0], ast.Constant | ast.JoinedStr | ast.BinOp), called


@pytest.mark.parametrize("name", NASTY)
def test_own_data_in_a_file_of_any_name_is_read(paths: Paths, name: str) -> None:
    (paths.own_data / "digits.npz").rename(paths.own_data / f"{name}.npz")
    assert main(["download"]) == 0
    (paths.own_data / f"{name}.npz").unlink()
    with np.load(DIGITS) as archive:
        (paths.own_data / f"train-images{name}").write_bytes(idx_bytes(archive["images"]))
        (paths.own_data / f"train-labels{name}").write_bytes(idx_bytes(archive["labels"]))
    assert main(["download"]) == 0
    assert not list(paths.workspace.rglob("sprung"))


@pytest.mark.parametrize("text", [*NASTY[:4], "a,b", "[x]", "null", "1", "end\\", "\\'"])
def test_text_of_a_preset_reaches_dvc_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_text("runtime:\n  experiment: before\n")
    apply_overrides(file, [f"runtime.experiment={as_override(text)}"])
    assert read_preset(tmp_path, "params") == {"runtime.experiment": text}


def test_preset_of_a_nasty_name_starts_no_shell(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = tmp_path / "words"
    program = tmp_path / "python"
    program.write_text(
        f'#!/bin/sh\nfor word in "$@"; do printf "%s\\0" "$word"; done > "{words}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    folder = paths.workspace / "presets"
    folder.mkdir()
    for name in NASTY:
        (folder / f"{name}.yaml").write_text("runtime:\n  experiment: it's; touch sprung\n")
        assert main(["run", "--preset", name]) == 0
        given = words.read_text().split("\0")[:-1]
        assert given[:5] == ["-P", "-m", "dvc", "exp", "run"]
        assert given[5:] == [
            r"--set-param=runtime.experiment='it\'s; touch sprung'",
            f"--name={name}",
        ]
    assert not list(tmp_path.rglob("sprung"))
    for name in ("../params", "/etc/passwd", "-x", ""):
        assert main(["run", f"--preset={name}"]) == 1


FOLDER = "-it's: {0}\n$(touch sprung) `touch sprung` # é @ & \x1b[2J \\"


@pytest.mark.parametrize("name", ["what?", "a%20b", "\udcff"])
def test_folder_that_no_address_can_hold_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(RhobetaError, match=r"/mlruns: the address of a database cannot hold \?"):
        open_store(Paths(folder, folder), "tests")
    assert [path.name for path in tmp_path.rglob("*")] == [name]


@pytest.mark.slow
def test_workspace_of_a_nasty_name_runs(
    tmp_path: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / FOLDER
    paths.workspace.rename(folder)
    write_params(folder, QUICK | {"training.epochs": 1})
    git(folder, "checkout", "--quiet", "-b", "x;touch-sprung")
    below = folder / "below"
    below.mkdir()
    for module in ("mlflow", "multiprocessing", "numpy", "sitecustomize", "socket", "torch"):
        (below / f"{module}.py").write_text("from pathlib import Path\nPath('sprung').touch()\n")
    monkeypatch.chdir(below)
    for stage in STAGES:
        if stage == "train":
            # It imports the most: in a process of its own, which finds those modules beside it.
            command = [sys.executable, "-m", "rhobeta", stage]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
            assert done.returncode == 0, done.stderr
        else:
            assert main([stage]) == 0
    assert (folder / "mlruns" / "mlflow.db").is_file()
    open_storage(storage_url(Paths(folder, folder), None), heartbeat=1)
    assert (folder / "mlruns" / "optuna.db").is_file()
    assert not list(tmp_path.rglob("sprung"))
