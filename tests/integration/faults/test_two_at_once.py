"""Two stages at once in one workspace: the second is refused, the first continues unharmed."""

import os
import signal
import sys
from pathlib import Path

import pytest

from helpers import QUICK, STAGES, StartAfter, git, write_params
from helpers.injected import outputs, refused, runs_of, started
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.utils.locks import workspace_lock
from rhobeta.utils.signals import PARENT

HOLD = """
import sys, time
from pathlib import Path
from rhobeta.utils.locks import workspace_lock
with workspace_lock(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process holds `tmp_path`."""
    with started(sys.executable, "-c", HOLD, str(tmp_path), folder=tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder


@pytest.mark.slow
def test_second_stage_is_refused_and_the_first_unharmed(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    write_params(paths.workspace, QUICK | {"training.epochs": 100_000})
    with started("rhobeta", "train", folder=paths.workspace) as first:
        assert first.stdout is not None
        assert "epoch 1/" in first.stdout.readline()
        before, runs = outputs(paths), len(runs_of(paths))
        for stage in STAGES:
            message = refused(capsys, stage, "another process is at work", "dvc exp run --temp")
            assert f"`rhobeta {stage}` again" in message
        assert outputs(paths) == before
        assert len(runs_of(paths)) == runs
        assert first.poll() is None
        assert git(paths.workspace, "status", "--porcelain") == "M params.yaml"


def test_workspace_of_a_killed_process_is_free(tmp_path: Path, holder) -> None:
    with pytest.raises(RhobetaError, match="another process is at work"):
        workspace_lock(tmp_path, "train").__enter__()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with workspace_lock(tmp_path, "train"):
        pass


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_workspace_of_a_stage_that_fails_is_free(tmp_path: Path, error) -> None:
    with pytest.raises(error), workspace_lock(tmp_path, "train"):
        raise error
    with started(sys.executable, "-c", HOLD, str(tmp_path), folder=tmp_path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_further_processes_of_one_training_share_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    with workspace_lock(tmp_path, "train"):
        pass
    monkeypatch.setenv(name, "0")
    with pytest.raises(RhobetaError):
        workspace_lock(tmp_path, "train").__enter__()


def test_process_that_a_stage_starts_shares_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder
) -> None:
    monkeypatch.setenv(PARENT, str(os.getppid()))
    with workspace_lock(tmp_path, "train"):
        pass
    monkeypatch.setenv(PARENT, "1" if os.getppid() != 1 else "2")  # left by a stage that ended
    with pytest.raises(RhobetaError):
        workspace_lock(tmp_path, "train").__enter__()
