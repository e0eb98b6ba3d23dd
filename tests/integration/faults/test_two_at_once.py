"""Two stages at once in one workspace: the second is refused, and nothing of the first is lost."""

import os
import signal
import time
from pathlib import Path

import pytest
from faults.injected import outputs, refused, runs_of, started, wait_until

from helpers import QUICK, STAGES, StartAfter, git, write_params
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.utils.locks import workspace_lock
from rhobeta.utils.signals import PARENT

ENDLESS = QUICK | {"training.epochs": 100_000}


@pytest.mark.slow
def test_a_second_stage_is_refused_at_once_and_told_of_the_first(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    write_params(paths.workspace, ENDLESS)
    with started("rhobeta", "train", folder=paths.workspace) as first:
        assert first.stdout is not None
        assert "epoch 1/" in first.stdout.readline()
        before, runs = outputs(paths), len(runs_of(paths))
        for stage in STAGES:
            begun = time.monotonic()
            message = refused(capsys, stage, f"process {first.pid}", "rhobeta train)", "dvc exp")
            assert time.monotonic() - begun < 2
            assert f"`rhobeta {stage}` again" in message
        assert outputs(paths) == before
        assert len(runs_of(paths)) == runs
        assert first.poll() is None
        assert git(paths.workspace, "status", "--porcelain") == "M params.yaml"

        first.send_signal(signal.SIGKILL)
        first.wait()
        with workspace_lock(paths.workspace, "train"):
            pass


def test_another_workspace_and_the_same_one_afterwards_are_free(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for _ in range(2):
        with (
            workspace_lock(tmp_path / "a", "train"),
            workspace_lock(tmp_path / "b", "train"),
            pytest.raises(RhobetaError, match=rf"(?s)process {os.getpid()} \(.*`rhobeta evaluate`"),
            workspace_lock(tmp_path / "a", "evaluate"),
        ):
            pytest.fail("two held one workspace")
    assert list((tmp_path / "a").iterdir()) == []


def test_a_stage_that_fails_gives_the_workspace_back(tmp_path: Path) -> None:
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error), workspace_lock(tmp_path, "train"):
            raise error
    with workspace_lock(tmp_path, "train"):
        pass


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_further_processes_of_one_training_are_not_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with workspace_lock(tmp_path, "train"):
        monkeypatch.setenv(name, "1")
        with workspace_lock(tmp_path, "train"):
            pass
        monkeypatch.setenv(name, "0")
        with pytest.raises(RhobetaError), workspace_lock(tmp_path, "train"):
            pass


def test_a_process_that_a_stage_starts_to_share_its_work_is_not_kept_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workspace_lock(tmp_path, "train"):
        monkeypatch.setenv(PARENT, str(os.getppid()))
        with workspace_lock(tmp_path, "train"):
            pass
        # Left in the environment by a stage that has ended.
        monkeypatch.setenv(PARENT, "1" if os.getppid() != 1 else "2")
        with pytest.raises(RhobetaError), workspace_lock(tmp_path, "train"):
            pass


def test_a_child_does_not_keep_the_workspace_when_the_stage_has_ended(tmp_path: Path) -> None:
    with (
        workspace_lock(tmp_path, "train"),
        started("sleep", "60", folder=tmp_path) as child,
    ):
        wait_until(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "sleep\n")
        links = [str(link.readlink()) for link in Path(f"/proc/{child.pid}/fd").iterdir()]
        assert str(tmp_path) not in links


@pytest.mark.parametrize("known", [True, False])
def test_who_holds_it_is_named_where_the_system_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    if not known:
        monkeypatch.setattr("rhobeta.utils.locks._LOCKS", tmp_path / "no such list")
    with workspace_lock(tmp_path, "train"), pytest.raises(RhobetaError) as caught:
        workspace_lock(tmp_path, "train").__enter__()
    who = f"process {os.getpid()} (" if known else "another process is at work"
    assert str(caught.value).startswith(who)
    assert ("kill" in str(caught.value)) is known
