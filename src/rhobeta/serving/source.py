"""The model that a command is to use: a file, or what the run of the store has packaged."""

import difflib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError
from rhobeta.model.model_file import read_model
from rhobeta.model.weights import SavedModel, model_from_bytes
from rhobeta.paths import Paths
from rhobeta.tracking.environment import environment_kept
from rhobeta.tracking.package import PACKAGED_FILE
from rhobeta.tracking.store import Store, open_store, without_password
from rhobeta.tracking.tags import MODEL_TAG
from rhobeta.tracking.upload import logged_model
from rhobeta.utils.files import sha256_of_bytes

if TYPE_CHECKING:
    from mlflow.entities import Run as RunEntity

_RUNS_LOOKED_AT = 1000
# MLflow's bar for each file that it fetches.
_BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"


@dataclass(frozen=True)
class Package:
    """The packaged model of a run."""

    model_id: str
    """MLflow's name of it."""
    content: bytes
    """The model's own file."""


def find_model(wanted: str | None, params: Params, paths: Paths) -> SavedModel:
    """The model in the file, or of the run, `wanted`; the workspace's where it is None.

    Raises `RhobetaError` where there is neither, or the model is damaged.
    """
    if wanted is None:
        return read_model(paths.model)
    if Path(wanted).is_file():
        return read_model(Path(wanted))
    if "/" in wanted or wanted.endswith(".safetensors"):
        raise RhobetaError(f"{wanted} is no file.\nName a model file, or the id of a run.")
    store = open_store(paths, params.runtime.experiment)
    run = find_run(store, wanted)
    package = read_package(store, run)
    return model_from_bytes(package.content, name=f"the model of run {wanted}")


def find_run(store: Store, run_id: str) -> "RunEntity":
    """The run with this id.

    Raises `RhobetaError`, which offers the nearest, where the store has none or it was deleted.
    """
    from mlflow.exceptions import MlflowException

    place = without_password(store.uri)
    try:
        run = store.client.get_run(run_id)
    except MlflowException:
        experiments = [e.experiment_id for e in store.client.search_experiments()]
        runs = store.client.search_runs(experiments, max_results=_RUNS_LOOKED_AT)
        near = _near(run_id, [run.info.run_id for run in runs])
        raise RhobetaError(
            f"There is no run {run_id!r} in {place}.{near}\n"
            "`rhobeta ui` shows the runs and their ids."
        ) from None
    if run.info.lifecycle_stage == "deleted":
        raise RhobetaError(
            f"The run {run_id} in {place} was deleted.\n`mlflow runs restore --run-id {run_id}`"
            " brings it back."
        )
    return run


def read_package(store: Store, run: "RunEntity") -> Package:
    """The run's packaged model, held against the digest that the run has of it.

    Raises `RhobetaError` where the run made no model, or its package is gone or another's.
    """
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    run_id = run.info.run_id
    expected = run.data.tags.get(MODEL_TAG)
    package = logged_model(store.client, run_id, run.info.experiment_id)
    if expected is None or package is None:
        raise RhobetaError(
            f"The run {run_id} ({run.info.status}) has no model: its training did not come to its"
            " end, or it is of another kind.\nName a run that `rhobeta train` finished."
        )
    try:
        location = package.artifact_location
        with tempfile.TemporaryDirectory() as folder, environment_kept((_BAR,)):
            os.environ[_BAR] = "false"
            file = mlflow.artifacts.download_artifacts(
                artifact_uri=f"{location}/{PACKAGED_FILE}", dst_path=folder, tracking_uri=store.uri
            )
            content = Path(file).read_bytes()
    except (MlflowException, OSError) as error:
        reason = without_password(" ".join(str(error).split()))[:300]
        raise RhobetaError(
            f"The packaged model of the run {run_id} cannot be read: {reason}\n"
            "Its files among the store's artifacts were moved or deleted: bring them back, or run"
            " `dvc repro --force train`."
        ) from None
    found = sha256_of_bytes(content)
    if found != expected:
        raise RhobetaError(
            f"The packaged model of the run {run_id} is not the one that the run made (SHA-256"
            f" {found[:16]}..., expected {expected[:16]}...): it is damaged, or was replaced.\n"
            "Bring the store's artifacts back from a backup, or train anew."
        )
    return Package(package.model_id, content)


def _near(wanted: str, ids: list[str]) -> str:
    # What was cut off first; ids have nothing else in common.
    near = [run_id for run_id in ids if wanted and run_id.startswith(wanted)]
    near = near or difflib.get_close_matches(wanted, ids, n=1, cutoff=0.8)
    return f" Did you mean {near[0]}?" if near else ""
