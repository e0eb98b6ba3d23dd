"""A trial that uses several devices: a training of as many processes, told its parameters.

The worker draws them; a rank that drew for itself would train another model than its fellows. The
process of rank 0 logs into the trial's run, reports to the pruner, and writes what came out of it.
"""

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rhobeta.config.params import Params, check_params
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.environment import environment_kept
from rhobeta.tracking.run import StoppedOnPurpose
from rhobeta.tracking.store import StoreUnavailableError
from rhobeta.training.processes import run_in_processes
from rhobeta.tuning.storage import STORAGE_VARIABLE
from rhobeta.utils.files import read_json, write_bytes, write_json

if TYPE_CHECKING:
    from rhobeta.data.splits import Manifest
    from rhobeta.training.fit import Trained

_TOLD, _OUTCOME, _MODEL = "told.json", "outcome.json", "model.safetensors"


@dataclass(frozen=True)
class Told:
    """What the processes of a trial are told; the database's address is in their environment."""

    params: dict[str, Any]
    """All parameters, with the trial's values."""
    workspace: str
    store_root: str
    run_id: str
    """The trial's MLflow run."""
    study: str
    trial_id: int
    threads: int
    """CPU threads of each process."""


def told(
    params: Params, paths: Paths, *, run_id: str, study: str, trial_id: int, threads: int
) -> Told:
    """What a trial of these parameters tells its processes."""
    return Told(
        params=params.model_dump(mode="json"),
        workspace=str(paths.workspace),
        store_root=str(paths.store_root),
        run_id=run_id,
        study=study,
        trial_id=trial_id,
        threads=threads,
    )


def train_in_processes(told: Told, devices: int, url: str) -> "Trained":
    """Train in `devices` processes on this machine; `url` is the studies' database.

    Raises `RhobetaError` where the training fails, `StoreUnavailableError` where MLflow's server
    is away, `StoppedOnPurpose` where the pruner ends it, `SystemExit` where this process is
    asked to end.
    """
    from rhobeta.utils.signals import EndedBySignal

    with TemporaryDirectory(prefix="rhobeta-trial-") as name, environment_kept([STORAGE_VARIABLE]):
        folder = Path(name)
        write_json(folder / _TOLD, asdict(told))
        # Not in the file, and on no command line: it may hold a password.
        os.environ[STORAGE_VARIABLE] = url
        try:
            run_in_processes([name], devices, 1, module=__name__)
        except EndedBySignal:
            raise
        except SystemExit:
            raise _failure_of(folder) from None
        return _outcome_of(folder)


def _outcome_of(folder: Path) -> "Trained":
    from rhobeta.model.weights import model_from_bytes
    from rhobeta.training.fit import Trained

    outcome = read_json(folder / _OUTCOME, made_by="rhobeta tune")
    if "stopped" in outcome:
        raise StoppedOnPurpose(outcome["stopped"])
    saved = model_from_bytes((folder / _MODEL).read_bytes(), name="the trial's model")
    return Trained(model=saved.model, **outcome["trained"])


def _failure_of(folder: Path) -> RhobetaError:
    if not (folder / _OUTCOME).is_file():
        return RhobetaError("A process of the training has ended; what it said stands above.")
    outcome = read_json(folder / _OUTCOME, made_by="rhobeta tune")
    kind = StoreUnavailableError if outcome.get("away") else RhobetaError
    return kind(str(outcome.get("error")))


def _train(folder: Path) -> None:
    """Train as one of the processes; the body of each."""
    from rhobeta.data.splits import read_manifest
    from rhobeta.extensions import load_extensions
    from rhobeta.training.devices import place_among_processes

    told = Told(**read_json(folder / _TOLD, made_by="rhobeta tune"))
    paths = Paths(workspace=Path(told.workspace), store_root=Path(told.store_root))
    load_extensions(paths.workspace / "extensions")
    params = check_params(told.params, where="the parameters of this trial")
    manifest = read_manifest(paths.splits)
    place = place_among_processes()
    first = place is not None and place.rank == 0
    try:
        trained = _fit(told, params, paths, manifest, first=first)
    except StoppedOnPurpose as stop:
        outcome: dict[str, Any] = {"stopped": dict(stop.tags)}
    except Exception as error:
        if first:
            kind = "" if isinstance(error, RhobetaError) else f"{type(error).__name__}: "
            away = isinstance(error, StoreUnavailableError)
            write_json(folder / _OUTCOME, {"error": f"{kind}{error}", "away": away})
        # Told by the worker, in the trial and its run.
        raise SystemExit(1) from None
    else:
        outcome = {"trained": {k: v for k, v in vars(trained).items() if k != "model"}}
        if first:
            write_bytes(folder / _MODEL, _model(trained, params, manifest))
    if first:
        write_json(folder / _OUTCOME, outcome)


def _fit(
    told: Told, params: Params, paths: Paths, manifest: "Manifest", *, first: bool
) -> "Trained":
    import torch

    from rhobeta.data.splits import read_split
    from rhobeta.tracking.callback import TrackEpochs
    from rhobeta.tracking.run import Run
    from rhobeta.tracking.store import open_store
    from rhobeta.tuning.trial import reports_to_pruner, train_once

    torch.set_num_threads(told.threads)
    run = Run(open_store(paths, params.runtime.experiment), told.run_id) if first else None
    callbacks: list[Any] = [TrackEpochs(run)] if run is not None else []
    trial = _trial(told, params, paths) if first and params.tune.pruner != "none" else None
    callbacks += reports_to_pruner(trial, params)
    try:
        return train_once(
            params,
            manifest,
            read_split(paths.splits, "train", manifest),
            read_split(paths.splits, "validation", manifest),
            callbacks,
            devices=devices_of(params),
        )
    finally:
        if run is not None:
            run.flush()


def devices_of(params: Params) -> int:
    """Devices of one trial: `runtime.devices` where that is a number; `auto` is one."""
    return 1 if params.runtime.devices == "auto" else params.runtime.devices


def _trial(told: Told, params: Params, paths: Paths) -> Any:
    import optuna

    from rhobeta.tuning.storage import open_storage, storage_url
    from rhobeta.tuning.study import load_study

    storage = open_storage(storage_url(paths, None), heartbeat=params.tune.heartbeat)
    return optuna.Trial(load_study(storage, told.study, params), told.trial_id)


def _model(trained: "Trained", params: Params, manifest: "Manifest") -> bytes:
    from rhobeta.model.weights import ModelDescription, model_to_bytes
    from rhobeta.training.build import hparams_of

    description = ModelDescription(
        architecture=trained.model.architecture,
        parameters=hparams_of(params, manifest),
        data_sha256=manifest.sha256,
        best_epoch=trained.best_epoch,
        best_loss=trained.best_loss,
    )
    return model_to_bytes(trained.model, description)


if __name__ == "__main__":
    from rhobeta.utils.signals import end_on_signals, end_with_starter

    end_on_signals()
    end_with_starter()
    _train(Path(sys.argv[1]))
