"""A small search on the fixture's digits, as tests of it share it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rhobeta.config.params import Params
from rhobeta.paths import Paths
from rhobeta.tuning.tune import begin
from rhobeta.tuning.worker import Job

# The fixture's few images leave no unit dead, and a trial takes a fraction of a second.
SEARCH: dict[str, Any] = {
    "tune.trials": 3,
    "tune.startup_trials": 2,
    "tune.heartbeat": 1,
    "tune.constraints": [],
    "tune.space": {
        "penalty.rho": {"low": 0.05, "high": 0.5, "log": True},
        "penalty.beta": {"low": 0.0001, "high": 0.01, "log": True},
    },
}

RunWorker = Callable[..., tuple[Any, Params, Job]]
"""Runs a worker in this process on parameters with changes: study, parameters, the job."""


def begun(paths: Paths, params: Params) -> tuple[Any, Job]:
    """The study of the parameters, made or joined, and the job of its workers."""
    found = begin(params, paths, asked=params.tune.trials, threads=1)
    return found.study, found.job


def asking(job: Job, trials: int) -> Job:
    """The same job for another number of trials."""
    return replace(job, asked=trials)
