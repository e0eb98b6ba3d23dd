"""A small search on the fixture's digits: its parameters, and the fixtures that run it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from helpers import OUTSIDE, QUICK, make_project, write_params
from rhobeta.cli import main
from rhobeta.config.params import Params, load_params
from rhobeta.paths import Paths
from rhobeta.tuning.job import TuningJob
from rhobeta.tuning.storage import STORAGE_VARIABLE, open_storage
from rhobeta.tuning.tune import open_session
from rhobeta.tuning.workers import run_trials

# The fixture's few images leave no unit dead, and a trial takes a fraction of a second.
SEARCH: dict[str, Any] = {
    "tune.study": "rho-beta",
    "tune.trials": 3,
    "tune.startup_trials": 2,
    "tune.heartbeat": 1,
    "tune.constraints": [],
    "tune.space": {
        "penalty.rho": {"low": 0.05, "high": 0.5, "log": True},
        "penalty.beta": {"low": 0.0001, "high": 0.01, "log": True},
    },
}

RunTrials = Callable[..., tuple[Any, Params, TuningJob]]
"""Runs trials in this process on parameters with changes: study, parameters, the job."""


def asking(job: TuningJob, trials: int) -> TuningJob:
    """The same job for another number of trials."""
    return replace(job, asked=trials)


@pytest.fixture(autouse=True)
def no_storage_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test uses the database of the person who runs it."""
    monkeypatch.delenv(STORAGE_VARIABLE, raising=False)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The splits, and both databases with their tables, which take seconds to make."""
    folder = tmp_path_factory.mktemp("prepared") / "project"
    with pytest.MonkeyPatch.context() as patch:
        for name in OUTSIDE:
            patch.delenv(name, raising=False)
        make_project(folder)
        patch.chdir(folder)
        assert main(["download"]) == 0
        assert main(["preprocess"]) == 0
    (folder / "mlruns").mkdir()
    MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}").search_experiments()
    open_storage(f"sqlite:///{folder / 'mlruns' / 'optuna.db'}", heartbeat=1)
    return folder


@pytest.fixture
def project(paths: Paths, prepared: Path) -> Paths:
    """The workspace with splits; the test split is gone, which the search must not miss."""
    for name in ("data", "mlruns"):
        shutil.copytree(prepared / name, paths.workspace / name, dirs_exist_ok=True)
    (paths.splits / "test.safetensors").unlink()
    write_params(paths.workspace, QUICK | SEARCH)
    return paths


@pytest.fixture
def run_here(project: Paths) -> RunTrials:
    """Run trials in this process on parameters with changes."""

    def run(**changes: Any) -> tuple[Any, Params, TuningJob]:
        named = {name.replace("__", "."): value for name, value in changes.items()}
        write_params(project.workspace, QUICK | SEARCH | named)
        params = load_params(project.params)
        session = open_session(params, project, asked=params.tune.trials, threads=1)
        run_trials(session.job)
        return session.study, params, session.job

    return run
