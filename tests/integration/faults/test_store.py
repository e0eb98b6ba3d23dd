"""The MLflow store is read-only, vanishes, fills up, is locked or is damaged."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from helpers import STAGES, StartAfter
from helpers.injected import at_epoch, fill, mounted, refused, runs_of, succeeds, wait_until
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking import database
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store

BEFORE = dict(zip(STAGES[1:], STAGES, strict=False))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


@pytest.mark.parametrize("stage", STAGES[2:])
def test_a_read_only_store_is_refused_and_a_writable_one_works_again(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    start_after(BEFORE[stage])
    output = {"train": paths.model, "evaluate": paths.metrics, "visualize": paths.report}[stage]
    paths.store.mkdir(exist_ok=True)
    with read_only(paths.store):
        refused(capsys, stage, str(paths.store), "not writable (Read-only file system)")
        assert not output.exists()
    succeeds(stage)
    assert [run.info.status for run in runs_of(paths)] == ["FINISHED"]


@pytest.fixture
def untrained(paths: Paths, start_after: StartAfter) -> Paths:
    """A workspace that has a store, with one run, and no model any more."""
    start_after("train")
    paths.model.unlink()
    return paths


def test_a_store_that_becomes_read_only_in_training(
    untrained: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, ExitStack() as until:
        at_epoch(patch, 1, lambda: until.enter_context(read_only(untrained.store)))
        refused(capsys, "train", "is not accessible (Read-only file system)")
        assert not untrained.model.exists()
    succeeds("train")
    assert runs_of(untrained)[-1].info.status == "FINISHED"


def test_a_store_that_vanishes_in_training(
    untrained: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_epoch(patch, 1, lambda: shutil.rmtree(untrained.store))
        refused(capsys, "train", "the MLflow store failed", "readonly database")
    assert not untrained.model.exists()
    succeeds("train")
    assert [run.info.status for run in runs_of(untrained)] == ["FINISHED"]


@pytest.mark.parametrize("epoch", [None, 1], ids=["before training", "in training"])
def test_a_disk_that_is_full_for_the_store(
    untrained: Paths,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    epoch: int | None,
) -> None:
    store = untrained.store
    kept = store.rename(store.with_name("kept"))
    store.mkdir()
    with mounted(store, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        shutil.copytree(kept, store, dirs_exist_ok=True)
        with monkeypatch.context() as patch:
            if epoch is None:
                fill(store)
            else:
                at_epoch(patch, epoch, lambda: fill(store))
            refused(capsys, "train", "full")
        assert not untrained.model.exists()
        (store / "filler").unlink()
        succeeds("train")
        assert runs_of(untrained)[-1].info.status == "FINISHED"
        assert untrained.model.is_file()


HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("COMMIT")
"""


@contextmanager
def locked(file: Path, seconds: float) -> Iterator[None]:
    """Another process holds the database for `seconds`, at most as long as the body runs."""
    command = [sys.executable, "-c", HOLD, str(file), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.kill()


def test_a_store_that_is_locked_for_long_is_refused_before_training(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_after("train")
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.5)
    with locked(paths.store / "mlflow.db", 60):
        refused(capsys, "evaluate", "is locked", "for 0.5 seconds", "run the command again")
    assert not paths.metrics.exists()
    succeeds("evaluate")
    (run,) = runs_of(paths)
    assert "test/mse" in run.data.metrics


def test_a_store_that_is_locked_for_a_moment_is_waited_for(
    paths: Paths, start_after: StartAfter, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_after("train")
    holders = []

    def hold() -> None:
        holders.append(locked(paths.store / "mlflow.db", 1.5))
        holders[-1].__enter__()

    at_epoch(monkeypatch, 1, hold)
    hold()
    succeeds("train")
    for holder in holders:
        holder.__exit__(None, None, None)
    assert len(holders) == 2
    assert [run.info.status for run in runs_of(paths)] == ["FINISHED", "FINISHED"]


@pytest.mark.slow
def test_a_store_that_is_locked_for_long_in_training(
    paths: Paths,
    start_after: StartAfter,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start_after("preprocess")
    open_store(paths, "rhobeta")
    with monkeypatch.context() as patch:
        holder = locked(paths.store / "mlflow.db", 600)
        at_epoch(patch, 1, holder.__enter__)
        refused(capsys, "train", "the MLflow store failed", "database is locked")
        holder.__exit__(None, None, None)
    assert not paths.model.exists()
    succeeds("train")
    assert runs_of(paths)[-1].info.status == "FINISHED"


def _truncate(file: Path) -> None:
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 2 + 100)


def _overwrite_a_page(file: Path) -> None:
    with file.open("rb+") as opened:
        # The second page is the root of the first table; what it begins with says what it is.
        opened.seek(4096)
        opened.write(b"\xff" * 64)


@pytest.mark.parametrize(
    ("stage", "damage"), [("train", _truncate), ("evaluate", _overwrite_a_page)]
)
def test_a_damaged_store_is_refused_and_a_new_one_takes_its_place(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str], stage: str, damage
) -> None:
    start_after("train")
    file = paths.store / "mlflow.db"
    damage(file)
    refused(capsys, stage, f"{file} is damaged", "move it away")
    assert not paths.metrics.exists()
    file.rename(file.with_suffix(".damaged"))
    succeeds(stage)
    assert [run.info.status for run in runs_of(paths)] == ["FINISHED"]


# What is said of a file that hangs together, but holds other words where MLflow looks for its own.
EXPLAINED = ("is damaged", "cannot be used", "newer MLflow", "older version")


def test_bytes_that_flip_anywhere_in_the_store_end_in_an_error_or_a_run(
    paths: Paths, start_after: StartAfter
) -> None:
    start_after("train")
    whole = (paths.store / "mlflow.db").read_bytes()
    outcomes = []
    for seed in range(20):
        chance = random.Random(seed)
        damaged = bytearray(whole)
        at = chance.randrange(len(whole) - 64)
        damaged[at : at + 64] = chance.randbytes(64)
        root = paths.workspace / f"root-{seed}"
        (root / "mlruns").mkdir(parents=True)
        (root / "mlruns" / "mlflow.db").write_bytes(damaged)
        try:
            with new_run(open_store(Paths(root, root), "rhobeta"), name="it", tags={}) as run:
                run.log_metrics({"one": 1.0})
        except RhobetaError as error:
            (said,) = [words for words in EXPLAINED if words in str(error)]
            outcomes.append(said)
        else:
            outcomes.append("recorded")
    assert {"is damaged", "recorded"} <= set(outcomes)


CREATE = """
import sys
from pathlib import Path
from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store
root = Path(sys.argv[1])
open_store(Paths(root, root), "tests")
"""


@pytest.mark.parametrize("fault", ["interrupted", "killed"])
def test_a_store_whose_making_was_cut_short_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    paths = Paths(tmp_path, tmp_path)
    made = tmp_path / "temporary"
    made.mkdir()
    if fault == "killed":
        process = subprocess.Popen(
            [sys.executable, "-c", CREATE, str(tmp_path)], env={**os.environ, "TMPDIR": str(made)}
        )
        # Between two of the dozens of steps in which MLflow makes its tables.
        wait_until(lambda: any(file.stat().st_size > 200_000 for file in made.rglob("mlflow.db")))
        process.kill()
        assert process.wait() == -9
    else:
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            from mlflow.store.db import utils

            def interrupt(*_) -> None:
                raise KeyboardInterrupt

            patch.setattr(utils, "_upgrade_db", interrupt)
            open_store(paths, "tests")
    assert not (paths.store / "mlflow.db").exists()
    store = open_store(paths, "tests")
    with new_run(store, name="it", tags={}) as run:
        pass
    assert store.client.get_run(run.run_id).info.status == "FINISHED"
    with sqlite3.connect(paths.store / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
