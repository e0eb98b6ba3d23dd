"""A stage is ended at every moment at which it touches its files; the next run makes it good.

The stage runs in a forked child, which sends itself the signal just before the n-th time that it
opens a file for writing, renames or removes one: the real signal, at a moment that can be chosen.
"""

import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import QUICK, STAGES, StartAfter, write_params
from helpers.injected import forget_connections, outputs, runs_of, started
from rhobeta.cli import main
from rhobeta.paths import Paths

TOUCHES = ("open", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
ENDS: dict[int, int] = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129}


def _touches(event: str, arguments: tuple[Any, ...], folders: tuple[str, ...]) -> bool:
    if event not in TOUCHES or not isinstance(arguments[0], str | os.PathLike):
        return False
    if event == "open" and not arguments[2] & WRITES:
        return False
    path = Path(arguments[0])
    if event in ("os.remove", "os.rmdir") and arguments[1] != -1:
        path = Path(f"/proc/self/fd/{arguments[1]}").readlink() / path
    return str(path).startswith(folders)


def _fork(paths: Paths, errors: Path, work: Callable[[], int]) -> int:
    """Do the work in a child; returns its exit status, negative where a signal ended it."""
    forget_connections()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            signal.signal(signal.SIGINT, signal.default_int_handler)
            status = work()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class CutShort:
    """A stage of a workspace, run to its end or to the n-th time that it touches a file."""

    def __init__(self, paths: Paths, stage: str, log: Path) -> None:
        self.paths, self.stage, self.log = paths, stage, log
        self._folders = tuple(
            f"{folder}/"
            for folder in (paths.raw_data.parent, paths.model.parent, paths.plots.parent)
        )

    def run(self, *, at: int | None = None, by: int = 0) -> int:
        counter = self.log.with_suffix(".count")

        def work() -> int:
            touched = 0

            def hook(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal touched
                if _touches(event, arguments, self._folders):
                    touched += 1
                    if touched == at:
                        os.kill(os.getpid(), by)

            sys.addaudithook(hook)
            status = main([self.stage])
            counter.write_text(str(touched))
            return status

        return _fork(self.paths, self.log, work)

    def moments(self) -> int:
        """How often the stage touches its files; runs it to its end."""
        assert self.run() == 0, self.log.read_text()
        return int(self.log.with_suffix(".count").read_text())


@pytest.fixture
def cut(paths: Paths, start_after: StartAfter, request: pytest.FixtureRequest) -> CutShort:
    stage = request.param
    if stage != "download":
        start_after(STAGES[STAGES.index(stage) - 1])
    return CutShort(paths, stage, paths.workspace.parent / "log")


def _partial(files: dict[str, bytes]) -> list[str]:
    return [name for name in files if re.search(r"/\.[^/]*\.part(/|$)", name)]


def _require_whole(cut: CutShort, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """Every file is an old one or a new one, and a folder is all of one kind."""
    found = outputs(cut.paths)
    for name, content in found.items():
        if name not in _partial(found):
            assert content in (before.get(name), after.get(name)), name
    for folder in (cut.paths.raw_data, cut.paths.splits, cut.paths.figures):
        inside = f"{folder.relative_to(cut.paths.workspace)}/"
        old, new, now = (
            {name: content for name, content in files.items() if name.startswith(inside)}
            for files in (before, after, found)
        )
        assert now in ({}, old, new), f"{inside} is half of one and half of another"


def _back_to(before: dict[str, bytes], paths: Paths) -> None:
    for name in outputs(paths).keys() - before.keys():
        (paths.workspace / name).unlink()
    for folder in (paths.raw_data, paths.splits, paths.figures):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _require_clean_end(cut: CutShort, status: int, by: int) -> None:
    log = cut.log.read_text()
    if by == signal.SIGKILL:
        assert status == -by, log
        return
    assert status == ENDS[by], log
    assert "Traceback" not in log
    word = "interrupted" if by == signal.SIGINT else f"ended by {signal.Signals(by).name}"
    assert log.splitlines()[-1] == f"rhobeta {cut.stage}: {word}."
    assert _partial(outputs(cut.paths)) == []


def _cut_at(count: int, cut: CutShort, by: int) -> None:
    """End the stage at `count` moments from its first touch to its last, and mend it each time."""
    before = outputs(cut.paths)
    total = cut.moments()
    after = outputs(cut.paths)
    assert total >= 3
    assert _partial(after) == []
    for at in _moments(count, total):
        _back_to(before, cut.paths)
        _require_clean_end(cut, cut.run(at=at, by=by), by)
        _require_whole(cut, before, after)
        assert cut.run() == 0, cut.log.read_text()
        assert outputs(cut.paths) == after


def _cut_again_at(count: int, cut: CutShort, by: int) -> None:
    """End the stage at `count` moments over the files of its last run, and mend it at the end."""
    total = cut.moments()
    after = outputs(cut.paths)
    for at in _moments(count, total):
        _require_clean_end(cut, cut.run(at=at, by=by), by)
        _require_whole(cut, after, after)
    assert cut.run() == 0, cut.log.read_text()
    assert outputs(cut.paths) == after


def _moments(count: int, total: int) -> list[int]:
    return sorted({1 + round((total - 1) * (n + 0.5) / count) for n in range(count)})


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("cut", STAGES[:2], indirect=True)
def test_a_data_stage_that_is_ended_leaves_nothing_half_and_is_mended(
    cut: CutShort, by: int
) -> None:
    _cut_at(3, cut, by)


# The other stages, and more moments, are among the slow tests.
@pytest.mark.parametrize("cut", ["train"], indirect=True)
def test_a_stage_that_is_killed_leaves_nothing_half_and_is_mended(cut: CutShort) -> None:
    _cut_at(1, cut, signal.SIGKILL)
    # The run of a killed training is taken up by the next one.
    statuses = [run.info.status for run in runs_of(cut.paths)]
    assert statuses == ["FINISHED"] * (2 if cut.stage == "train" else 1)


@pytest.mark.slow
def test_training_ends_at_a_signal_marks_its_run_and_leaves_no_model(
    paths: Paths, start_after: StartAfter
) -> None:
    start_after("preprocess")
    write_params(paths.workspace, QUICK | {"training.epochs": 100_000})
    other = paths.workspace.with_name("other")
    shutil.copytree(paths.workspace, other)
    with (
        started("rhobeta", "train", folder=paths.workspace) as interrupted,
        started("rhobeta", "train", folder=other) as ended,
    ):
        for process, by in ((interrupted, signal.SIGINT), (ended, signal.SIGTERM)):
            assert process.stdout is not None
            assert "epoch 1/100000" in process.stdout.readline()
            process.send_signal(by)
            if by == signal.SIGTERM:  # Sent by who is impatient, it is ignored.
                process.send_signal(by)
            messages = process.communicate(timeout=60)[1]
            assert process.returncode == ENDS[by], messages
            assert messages.strip() in (
                "rhobeta train: interrupted.",
                "rhobeta train: ended by SIGTERM.",
            )
    for folder in (paths.workspace, other):
        assert not Paths(folder, folder).model.exists()
        (run,) = runs_of(Paths(folder, folder))
        assert run.info.status == "KILLED"


@pytest.mark.slow
@pytest.mark.parametrize("by", [signal.SIGKILL, *ENDS])
@pytest.mark.parametrize("cut", STAGES, indirect=True)
def test_a_stage_ended_at_any_moment_leaves_nothing_half_and_is_mended(
    cut: CutShort, by: int
) -> None:
    _cut_at(2 if cut.stage in STAGES[2:] else 12, cut, by)
    _cut_again_at(2 if cut.stage in STAGES[2:] else 12, cut, by)
    if cut.stage in STAGES[2:]:
        assert {run.info.status for run in runs_of(cut.paths)} == {"FINISHED"}
