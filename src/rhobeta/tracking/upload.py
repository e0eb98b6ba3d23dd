"""What is sent to a run in the store: values, files and the packaged model.

Everything can be sent again to the same effect: a call may have reached the server although its
answer was lost.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.tracking.tags import MODEL_TAG, NOTE_TAG
from rhobeta.utils.files import atomic_write

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from mlflow.entities import Run as RunEntity

    from rhobeta.tracking.store import Store

_OLD_NAME = "model"
"""The name of every model of version 0.2 and earlier."""


@dataclass
class Values:
    """Values that a run is to have; all of them can be written as JSON."""

    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[tuple[str, float, int, int]] = field(default_factory=list)
    """Name, value, time (ms), step."""
    measured: list[tuple[str, float, int, str, str]] = field(default_factory=list)
    """Metrics of the run's model on a data set: name, value, time (ms), the set's name, digest."""
    datasets: list[dict[str, str]] = field(default_factory=list)
    """Arguments of `Run.log_dataset`."""
    status: str | None = None
    """The run's final status, if it has."""
    ended: int | None = None
    """When it ended (ms)."""

    def update(self, later: "Values") -> None:
        """Add what comes later."""
        self.params |= later.params
        self.tags |= later.tags
        self.metrics += later.metrics
        self.measured += later.measured
        self.datasets += later.datasets
        self.status, self.ended = later.status or self.status, later.ended or self.ended


def send_values(client: "MlflowClient", run_id: str, values: Values) -> None:
    """Send values to a run. A parameter that it has with another value becomes a tag.

    MLflow never changes a parameter, but a model can be evaluated again with others. It drops a
    metric that it has with the same value, time and step. Measured metrics are linked to the run's
    model, if it is there, and to their data set.
    """
    from mlflow.entities import Metric, Param, RunTag

    params, tags = dict(values.params), dict(values.tags)
    if params:
        known = client.get_run(run_id).data.params
        tags |= {name: text for name, text in params.items() if known.get(name, text) != text}
        params = {name: text for name, text in params.items() if name not in known}
    model_id = _model_id(client, run_id) if values.measured else None
    measured = [
        Metric(name, value, time, 0, model_id, dataset, _short(digest))
        for name, value, time, dataset, digest in values.measured
    ]
    client.log_batch(
        run_id,
        metrics=[*(Metric(*point) for point in values.metrics), *measured],
        params=[Param(name, text) for name, text in params.items()],
        tags=[RunTag(name, text) for name, text in tags.items()],
    )
    for dataset in values.datasets:
        _send_dataset(client, run_id, **dataset)
    if values.status is not None:
        client.set_terminated(run_id, values.status, values.ended)


def _send_dataset(
    client: "MlflowClient",
    run_id: str,
    *,
    name: str,
    digest: str,
    context: str,
    profile: str,
    source: str,
) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(name, _short(digest), "local", source, profile=profile)
    tags = [InputTag("mlflow.data.context", context), InputTag("sha256", digest)]
    client.log_inputs(run_id, datasets=[DatasetInput(dataset, tags)])


def _short(digest: str) -> str:
    # MLflow keeps at most 36 characters of a digest.
    return digest[:32]


def _model_id(client: "MlflowClient", run_id: str) -> str | None:
    model = logged_model(client, run_id, client.get_run(run_id).info.experiment_id)
    return None if model is None else model.model_id


def send_file(store: "Store", run_id: str, path: Path, folder: str | None = None) -> None:
    """Send a file or a folder, by its own name, into this folder of the run's artifacts."""
    files = store.files_at(store.client.get_run(run_id).info.artifact_uri)
    if path.is_dir():
        files.log_artifacts(str(path), f"{folder}/{path.name}" if folder else path.name)
    else:
        files.log_artifact(str(path), folder)


def send_model(store: "Store", run_id: str, folder: Path) -> None:
    """Upload an MLflow model in a folder as the run's model, unless the run has it already.

    The tag with the digest of the weights says that it is the same one. Removes what an interrupted
    upload, or an earlier model of the run, has left.
    """
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model

    client, description = store.client, Model.load(folder)
    sha256 = (description.metadata or {})["model_sha256"]
    run = client.get_run(run_id)
    for model in _models_of(client, run_id, run.info.experiment_id):
        # Version 0.1 set no tag.
        if model.status == LoggedModelStatus.READY and model.tags.get(MODEL_TAG, sha256) == sha256:
            _link(client, run, model.model_id)
            return
        client.delete_logged_model(model.model_id)
    logged = client.create_logged_model(
        run.info.experiment_id,
        model_name(run.info.run_name or _OLD_NAME),
        source_run_id=run_id,
        params=run.data.params,
        tags={MODEL_TAG: sha256, NOTE_TAG: str((description.metadata or {}).get("takes", ""))},
    )
    # Its name in the run, not its address, which would hold a path of this machine.
    description.run_id, description.artifact_path = run_id, logged.name
    description.model_id = description.model_uuid = logged.model_id
    with atomic_write(folder / "MLmodel") as partial:
        description.save(partial)
    store.files_at(logged.artifact_location).log_artifacts(str(folder))
    client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
    _link(client, run, logged.model_id)


def model_name(run_name: str) -> str:
    """A run's name as that of its model, where MLflow allows no / : . % and quotes.

    >>> model_name("rho=0.1 beta=0.003, mnist 64 sigmoid")
    'rho=0_1 beta=0_003, mnist 64 sigmoid'
    """
    return re.sub("[/:.%\"']", "_", run_name)


def _link(client: "MlflowClient", run: "RunEntity", model_id: str) -> None:
    """Name the model among the outputs of the run, unless it is there."""
    from mlflow.entities import LoggedModelOutput

    outputs = run.outputs.model_outputs if run.outputs else []
    if model_id not in {output.model_id for output in outputs}:
        client.log_outputs(run.info.run_id, [LoggedModelOutput(model_id, step=0)])


def logged_model(client: "MlflowClient", run_id: str, experiment_id: str) -> "LoggedModel | None":
    """The packaged model of a run whose upload is complete; None if there is none."""
    from mlflow.entities import LoggedModelStatus

    found = _models_of(client, run_id, experiment_id)
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def _models_of(client: "MlflowClient", run_id: str, experiment_id: str) -> "list[LoggedModel]":
    found = client.search_logged_models(
        [experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    # Others may log models of their own into the run.
    return [model for model in found if MODEL_TAG in model.tags or model.name == _OLD_NAME]
