"""Faults for tests to bring about, and what must hold afterwards."""

import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rhobeta.cli import main
from rhobeta.paths import Paths
from rhobeta.tracking.run import Run


def refused(capsys: pytest.CaptureFixture[str], stage: str, *expected: str) -> str:
    """Run a stage that must end with status 1 and a message of a few lines; returns that."""
    forget_connections()
    capsys.readouterr()
    assert main([stage]) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"rhobeta {stage}: "), message
    assert "Traceback" not in message
    assert len(message.splitlines()) <= 4, message
    for text in expected:
        assert text in message, message
    return message


def succeeds(stage: str) -> None:
    """Run a stage that must end well."""
    forget_connections()
    assert main([stage]) == 0


def at_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, fault: Callable[[], Any]) -> None:
    """Bring about a fault in the middle of training, before an epoch's metrics are noted."""
    plain = Run.buffer_metrics

    def noted(run: Run, metrics: Any, *, step: int) -> None:
        if step == epoch:
            fault()
        plain(run, metrics, step=step)

    monkeypatch.setattr(Run, "buffer_metrics", noted)


def forget_connections() -> None:
    """Close what MLflow keeps open in this process, as it is in the process of the next stage."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for engine in SqlAlchemyStore._engine_map.values():
        engine.dispose()


def runs_of(paths: Paths) -> list[Any]:
    """All runs in the store, the oldest first."""
    from mlflow import MlflowClient

    forget_connections()
    client = MlflowClient(f"sqlite:///{paths.store}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return list(client.search_runs(experiments, order_by=["attributes.start_time ASC"]))


def outputs(paths: Paths) -> dict[str, bytes]:
    """Every file that the stages have written and DVC hashes, and every partial file."""
    folders = [paths.raw_data.parent, paths.model.parent, paths.metrics.parent]
    return {
        str(path.relative_to(paths.workspace)): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and paths.own_data not in path.parents
    }


@contextlib.contextmanager
def limited_memory(size: int) -> Iterator[None]:
    """Let this process allocate at most `size` bytes more than it has; then `MemoryError`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def mounted(folder: Path, *arguments: str) -> Iterator[None]:
    """Mount something on `folder`; skip the test where the system does not let one."""
    done = subprocess.run(
        ["mount", *arguments, str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here (this needs root): {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fill a small file system to its last byte; returns the file that does."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    assert shutil.disk_usage(disk).free == 0
    return filler


@contextlib.contextmanager
def started(*command: str, folder: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """A process in a group of its own, which is killed with all its children at the end."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.communicate()


def wait_until(condition: Callable[[], Any], *, seconds: float = 60) -> None:
    """Wait until something has happened; fail where it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
