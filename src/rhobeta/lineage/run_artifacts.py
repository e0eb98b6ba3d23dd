"""What the page draws, from the artifacts of runs: the history of training, and the model."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.errors import RhobetaError
from rhobeta.lineage.compare_subject import Subject
from rhobeta.model.weights import SavedModel, model_from_bytes
from rhobeta.tracking.environment import environment_kept
from rhobeta.tracking.store import Store
from rhobeta.tracking.upload import logged_model
from rhobeta.utils.files import sha256_of_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    Curves = Mapping[str, "Curve"]

# Of a curve: its epochs and its values.
Curve = tuple[list[float], list[float]]

CURVES = tuple(
    f"{split}/{name}" for split in ("train", "validation") for name in ("loss", "mse", "penalty")
)

_DATA = "data"
_PROGRESS_BAR = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
_SUFFIX = ".safetensors"


def curves_of(store: Store, subject: Subject) -> "Curves":
    """The run's `CURVES` by name, each over its epochs; only those that it has.

    They are the metric history that the store has; it has all of what is in `history.csv`.
    """
    curves: dict[str, Curve] = {}
    for name in CURVES:
        if name not in subject.metrics:
            continue
        points = {
            point.step: point.value
            for point in store.client.get_metric_history(subject.run_id, name)
        }
        curves[name] = (
            [float(step) for step in sorted(points)],
            [points[s] for s in sorted(points)],
        )
    return curves


def model_of(store: Store, subject: Subject) -> SavedModel:
    """The model of a subject, from its file or from the run's logged model.

    Raises `RhobetaError` where the run has none, or it is not the model that the run names.
    """
    content = subject.model if subject.model is not None else _logged_model(store.client, subject)
    if subject.model_sha256 and sha256_of_bytes(content) != subject.model_sha256:
        raise RhobetaError("the model among the run's artifacts is not the one that it trained")
    return model_from_bytes(content, name=subject.name)


def _logged_model(store: Store, subject: Subject) -> bytes:
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    experiment = store.client.get_run(subject.run_id).info.experiment_id
    model = logged_model(store.client, subject.run_id, experiment)
    if model is None:
        raise RhobetaError("the run has no logged model")
    try:
        artifacts = get_artifact_repository(model.artifact_location, tracking_uri=store.uri)
        with tempfile.TemporaryDirectory() as folder, environment_kept([_PROGRESS_BAR]):
            os.environ[_PROGRESS_BAR] = "false"
            artifacts.download_artifacts(_DATA, folder)
            files = sorted(Path(folder).rglob(f"*{_SUFFIX}"))
            if not files:
                raise RhobetaError("its logged model holds no weights")
            return files[0].read_bytes()
    except (MlflowException, OSError) as error:
        raise RhobetaError(f"its logged model cannot be read ({error})") from None
