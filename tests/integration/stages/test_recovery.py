"""A refused experiment and an interrupted training cost neither the model nor the workspace."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from helpers import git
from helpers.clones import Clone, copy_of
from rhobeta.cli import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def clone(reproduced: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone after `dvc repro`, committed."""
    return copy_of(reproduced, tmp_path_factory.mktemp("recovery") / "project")


def state(clone: Clone) -> tuple[str, dict[str, bytes]]:
    """What git says of the workspace, and the bytes of what a user may lose."""
    kept = (
        "params.yaml",
        "extensions/README.md",
        "models",
        "reports",
        "data/processed",
        "dvc.lock",
    )
    files = [f for name in kept for f in ((clone.folder / name).rglob("*"), [clone.folder / name])]
    return (
        git(clone.folder, "status", "--porcelain"),
        {str(p): p.read_bytes() for paths in files for p in paths if p.is_file()},
    )


def refused(clone: Clone, *values: str) -> str:
    words = [word for value in values for word in ("-S", value)]
    done = clone.attempt("dvc", "exp", "run", *words)
    assert done.returncode != 0
    return done.stderr


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_refused_experiment_leaves_the_workspace_as_it_was(clone: Clone) -> None:
    try:
        append(clone.folder / "extensions" / "README.md", "mine\n")
        (clone.folder / "notes.txt").write_text("mine\n")
        clone.change(penalty__beta=0.004, penalty__rho=0.15)
        append(clone.folder / "params.yaml", "# mine, with  odd   spaces\n")
        before = state(clone)
        refused(clone, "penalty.rho=5")
        assert state(clone) == before
        # The user's own bad value stays, though git still has the stash of the first.
        clone.change(penalty__rho=9)
        before = state(clone)
        refused(clone, "data.seed=4")
        assert state(clone) == before
    finally:
        (clone.folder / "notes.txt").unlink()
        git(clone.folder, "checkout", "--", ".")
    # A clean workspace has no stash; the earlier ones are still in git.
    before = state(clone)
    assert before[0] == ""
    message = refused(clone, "penalty.rho=5", "training.seed=3")
    assert "penalty.rho: found 5" in message
    assert "params.yaml is again what it was" in message
    assert state(clone) == before
    assert "up to date" in clone.run("dvc", "status").stdout


def test_refused_repro_keeps_model_and_the_way_back(
    clone: Clone, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(clone.folder)
    before = state(clone)
    try:
        clone.change(penalty__rho=5)
        assert clone.attempt("dvc", "repro").returncode != 0
        assert main(["summary"]) == 0
        assert "MSE against the mean image" in capsys.readouterr().out
        main(["doctor"])
        said = capsys.readouterr().out
        assert "penalty.rho: found 5" in said
        assert "`git checkout -- params.yaml`" in said
    finally:
        git(clone.folder, "checkout", "--", "params.yaml")
    assert state(clone) == before


def test_killed_training_keeps_the_model(clone: Clone) -> None:
    before = state(clone)
    try:
        clone.change(training__epochs=5000)
        with subprocess.Popen(
            ["dvc", "repro"],
            cwd=clone.folder,
            env=clone.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            checkpoints = clone.folder / "mlruns" / "checkpoints"
            for _ in range(600):
                if any(checkpoints.rglob("*.ckpt")):
                    break
                time.sleep(0.1)
            os.killpg(process.pid, signal.SIGKILL)
    finally:
        git(clone.folder, "checkout", "--", "params.yaml")
    assert state(clone) == before
