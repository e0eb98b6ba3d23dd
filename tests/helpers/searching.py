"""A small search on the fixture's digits, as tests of it share it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rhobeta.config.params import Params
from rhobeta.tuning.job import TuningJob

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

RunTrials = Callable[..., tuple[Any, Params, TuningJob]]
"""Runs trials in this process on parameters with changes: study, parameters, the job."""


def asking(job: TuningJob, trials: int) -> TuningJob:
    """The same job for another number of trials."""
    return replace(job, asked=trials)
