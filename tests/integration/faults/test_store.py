"""The MLflow store is read-only, vanishes, fills up, is locked or is damaged."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from helpers import StartAfter
from helpers.injected import at_epoch, fill, mounted, refused, runs_of, succeeds, wait_until
from rhobeta.paths import Paths
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


@pytest.fixture
def untrained(paths: Paths, start_after: StartAfter) -> Paths:
    """A workspace that has a store, with one run, and no model any more."""
    start_after("train")
    paths.model.unlink()
    return paths


def test_read_only_store(untrained: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    with read_only(untrained.store):
        refused(capsys, "train", str(untrained.store), "not accessible (Read-only file system)")
        assert not untrained.model.exists()
    succeeds("train")
    assert runs_of(untrained)[-1].info.status == "FINISHED"


def test_store_becomes_read_only_in_training(
    untrained: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, ExitStack() as until:
        at_epoch(patch, 1, lambda: until.enter_context(read_only(untrained.store)))
        refused(capsys, "train", "is not accessible (Read-only file system)")
        assert not untrained.model.exists()
    succeeds("train")
    assert runs_of(untrained)[-1].info.status == "FINISHED"


def test_store_disk_fills_up_in_training(
    untrained: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = untrained.store
    kept = store.rename(store.with_name("kept"))
    store.mkdir()
    with mounted(store, "-t", "tmpfs", "-o", "size=8m", "tmpfs"):
        shutil.copytree(kept, store, dirs_exist_ok=True)
        with monkeypatch.context() as patch:
            at_epoch(patch, 1, lambda: fill(store))
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


@pytest.mark.slow
def test_store_locked_for_a_moment(
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


def _truncate(file: Path) -> None:
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 2 + 100)


def _overwrite_a_page(file: Path) -> None:
    with file.open("rb+") as opened:
        # The second page is the root of the first table; what it begins with says what it is.
        opened.seek(4096)
        opened.write(b"\xff" * 64)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_truncate, _overwrite_a_page])
def test_damaged_store_can_be_replaced(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str], damage: Any
) -> None:
    start_after("train")
    file = paths.store / "mlflow.db"
    damage(file)
    refused(capsys, "evaluate", f"{file} cannot be used", "move the file away")
    assert not paths.metrics.exists()
    file.rename(file.with_suffix(".damaged"))
    succeeds("evaluate")
    assert [run.info.status for run in runs_of(paths)] == ["FINISHED"]


def test_store_of_another_mlflow_is_unchanged(
    paths: Paths, start_after: StartAfter, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    file = paths.store / "mlflow.db"
    for statement, said, advice in (
        (
            "UPDATE alembic_version SET version_num = 'ffffffffffff'",
            "its MLflow is another version",
            "install the MLflow that made it",
        ),
        ("DROP TABLE logged_models", "older version of MLflow", "mlflow db upgrade"),
    ):
        with sqlite3.connect(file) as connection:
            connection.execute(statement)
        before = file.read_bytes()
        assert advice in refused(capsys, "evaluate", said)
        assert file.read_bytes() == before


CREATE = """
import sys
from pathlib import Path
from typing import Any
from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store
root = Path(sys.argv[1])
open_store(Paths(root, root), "tests")
"""


@pytest.mark.slow
def test_store_creation_after_a_kill(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    process = subprocess.Popen([sys.executable, "-c", CREATE, str(tmp_path)])
    # Between two of the dozens of steps in which MLflow creates its tables.
    partial = paths.store / ".mlflow.db.part"
    wait_until(lambda: partial.exists() and partial.stat().st_size > 200_000)
    process.kill()
    assert process.wait() == -9
    assert not (paths.store / "mlflow.db").exists()
    store = open_store(paths, "tests")
    with new_run(store, name="it", tags={}) as run:
        pass
    assert store.client.get_run(run.run_id).info.status == "FINISHED"
    with sqlite3.connect(paths.store / "mlflow.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
