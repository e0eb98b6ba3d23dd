"""A small search on the fixture's digits, as tests of it share it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rhobeta.data.splits import read_manifest
from rhobeta.params import Params
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import read_code, training_code_digest
from rhobeta.tracking.store import open_store
from rhobeta.tuning.runs import parent_run
from rhobeta.tuning.storage import open_storage, storage_url
from rhobeta.tuning.study import fingerprint_of, make_or_join
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
    manifest = read_manifest(paths.splits)
    code = read_code(paths.workspace)
    url = storage_url(paths, params.tune.storage)
    storage = open_storage(url, heartbeat=params.tune.heartbeat)
    study, identity = make_or_join(
        storage,
        params.tune.study,
        params,
        fingerprint_of(params, manifest.sha256),
        training_code_digest(),
    )
    store = open_store(paths, params.runtime.experiment)
    run = parent_run(store, params, identity.id, code, manifest)
    job = Job(
        params=params,
        paths=paths,
        url=url,
        study=params.tune.study,
        study_id=identity.id,
        parent_run=run.run_id,
        code=code,
        asked=params.tune.trials,
        repeats=False,
        threads=1,
    )
    return study, job


def asking(job: Job, trials: int) -> Job:
    """The same job for another number of trials."""
    return replace(job, asked=trials)
