"""Fixtures that all tests share: real digits, parameters, and a project to run stages in."""

# isort: off
from rhobeta.utils.cpu import fix_instructions

# Tests compare what runs here with what the command does: before a numerical library is loaded.
fix_instructions()
# isort: on

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from helpers import (
    DIGITS,
    OUTSIDE,
    STAGES,
    NewStore,
    StartAfter,
    git,
    make_project,
)
from helpers.clones import Clone, copy_of, make_clone
from rhobeta.cli import main
from rhobeta.data.samples import Samples
from rhobeta.extensions import TABLES
from rhobeta.paths import Paths
from rhobeta.tracking.database import prepare_database
from rhobeta.tracking.store import Store, open_store

Shared = Callable[[str, Callable[[Path], None]], Path]


def pytest_configure() -> None:
    """Restore SIGINT and SIGHUP where `nohup` or a shell's `&` has ignored them.

    Tests interrupt commands, which would inherit that.
    """
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the longest tests, so that two workers end at the same time."""
    items.sort(key=lambda item: item.path.name != "test_pipeline.py")


@pytest.fixture(autouse=True)
def _no_store_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the store or the experiment of its user."""
    for name in OUTSIDE:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _private_site_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """DVC's own is in a folder that all users can write to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "site-cache"))
        yield


@pytest.fixture(scope="session")
def digits() -> Samples:
    """600 real MNIST training images, 60 of each class."""
    with np.load(DIGITS) as archive:
        return Samples(archive["images"], archive["labels"])


@pytest.fixture(scope="session")
def test_digits() -> Samples:
    """200 real MNIST test images, 20 of each class."""
    with np.load(DIGITS) as archive:
        return Samples(archive["test_images"], archive["test_labels"])


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the fixture as its own data: committed, and the current folder."""
    folder = tmp_path / "project"
    make_project(folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Shared:
    """Make a folder once for all workers of pytest-xdist: the first to need it makes it."""
    base = tmp_path_factory.getbasetemp()

    def get(name: str, make: Callable[[Path], None]) -> Path:
        root = (base if worker_id == "master" else base.parent) / name
        with FileLock(f"{root}.lock"):
            if not (root / "complete").is_file():
                make(root)
                (root / "complete").touch()
        return root

    return get


@pytest.fixture(scope="session")
def snapshots(shared: Shared) -> Path:
    """A folder with one project for each stage, as it is after the stage has run."""
    return shared("snapshots", _run_stages)


@pytest.fixture(scope="session")
def untouched(shared: Shared) -> Clone:
    """A clone in which no stage has run, to be copied and not changed."""
    return Clone(shared("clones", _reproduce) / "untouched")


@pytest.fixture(scope="session")
def reproduced(shared: Shared) -> Clone:
    """The same clone after `dvc repro`, committed; to be copied and not changed."""
    return Clone(shared("clones", _reproduce) / "reproduced")


@pytest.fixture(scope="session")
def softer(shared: Shared, reproduced: Clone) -> Clone:
    """`reproduced` after the DVC experiment `softer`, of rho 0.3; to be copied and not changed."""

    def run(root: Path) -> None:
        clone = copy_of(reproduced, root / "softer")
        words = ("dvc", "exp", "run", "--name", "softer", "-S", "penalty.rho=0.3")
        assert clone.stages_run_by(*words) == ["train", "evaluate", "visualize"]

    return Clone(shared("experiment", run) / "softer")


def _reproduce(root: Path) -> None:
    clone = make_clone(root / "untouched")
    # Experiments run in folders into which DVC brings only what it knows.
    clone.run("dvc", "add", "--quiet", "data/own/digits.npz")
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "--quiet", "--message=data")
    clone = copy_of(clone, root / "reproduced")
    assert clone.stages_run_by("dvc", "repro") == list(STAGES)
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "--quiet", "--message=reproduced")


def _run_stages(root: Path) -> None:
    make_project(root / "start")
    before = "start"
    with pytest.MonkeyPatch.context() as patch:
        for name in OUTSIDE:
            patch.delenv(name, raising=False)
        for stage in STAGES:
            shutil.copytree(root / before, root / stage)
            patch.chdir(root / stage)
            assert main([stage]) == 0
            before = stage


@pytest.fixture
def start_after(snapshots: Path, paths: Paths) -> StartAfter:
    """Bring `workspace` to where a stage has just run, without running it again."""

    def bring(stage: str) -> None:
        shutil.rmtree(paths.workspace / ".git")
        shutil.copytree(snapshots / stage, paths.workspace, dirs_exist_ok=True)

    return bring


@pytest.fixture
def paths(workspace: Path) -> Paths:
    """The paths of `workspace`."""
    return Paths(workspace=workspace, store_root=workspace)


@pytest.fixture(scope="session")
def blank_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new MLflow database: making one takes MLflow a second, copying it nothing."""
    folder = tmp_path_factory.mktemp("blank") / "mlruns"
    folder.mkdir()
    prepare_database(folder / "mlflow.db", folder / "artifacts")
    return folder / "mlflow.db"


@pytest.fixture
def new_store(blank_database: Path) -> NewStore:
    """Open a new store, which is a copy of a blank one."""

    def opened(paths: Paths, experiment: str = "rhobeta") -> Store:
        paths.store.mkdir(parents=True)
        shutil.copyfile(blank_database, paths.store / "mlflow.db")
        return open_store(paths, experiment)

    return opened


@pytest.fixture
def clean_registry() -> Iterator[None]:
    """Forget afterwards what a test registers."""
    before = [dict(table) for table in TABLES]
    yield
    for table, entries in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries)


RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def rhobeta(workspace: Path) -> RunCommand:
    """Run the real command in `workspace`, in a process of its own."""

    def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["rhobeta", *arguments],
            cwd=workspace,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run
