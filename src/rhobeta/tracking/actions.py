"""What is done to a run, as data: so it can be done now, or kept and done later.

Each kind can be done again to the same effect: a call may have reached the server although its
answer was lost.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from rhobeta.tracking.store import Store

ERROR_TAG = "rhobeta.error"
_PAIRS = 100


@dataclass(frozen=True)
class Action:
    """One call, or a few that belong together."""

    kind: str
    """A name in `KINDS`."""
    data: Mapping[str, Any]
    """Values that JSON has."""
    files: Mapping[str, Path] = field(default_factory=dict)
    """Files and folders that it takes, by name."""


def ending(status: str) -> Action:
    """The run has ended now, with this status."""
    return Action("end", {"status": status, "time": int(time.time() * 1000)})


def perform(store: "Store", run_id: str, action: Action, *, again: bool = False) -> None:
    """Do it to the run. `again` where it may have been done before, in part or whole."""
    if action.kind == "model":
        from rhobeta.tracking.package import upload_model

        upload_model(store, run_id, action, again=again)
        return
    KINDS[action.kind](store.client, run_id, action)


def _params(client: "MlflowClient", run_id: str, action: Action) -> None:
    # MLflow never changes a parameter, but the same model can be evaluated anew with others.
    from mlflow.entities import Param, RunTag

    known = client.get_run(run_id).data.params
    texts: dict[str, str] = action.data["params"]
    changed = [RunTag(k, v) for k, v in texts.items() if known.get(k, v) != v]
    for start in range(0, len(changed), _PAIRS):
        client.log_batch(run_id, tags=changed[start : start + _PAIRS])
    new = [Param(name, value) for name, value in texts.items() if name not in known]
    for start in range(0, len(new), _PAIRS):
        client.log_batch(run_id, params=new[start : start + _PAIRS])


def _tags(client: "MlflowClient", run_id: str, action: Action) -> None:
    from mlflow.entities import RunTag

    pairs = [RunTag(name, value) for name, value in action.data["tags"].items()]
    for start in range(0, len(pairs), _PAIRS):
        client.log_batch(run_id, tags=pairs[start : start + _PAIRS])


def _metrics(client: "MlflowClient", run_id: str, action: Action) -> None:
    # MLflow drops a point that it has with the same value, time and step.
    from mlflow.entities import Metric

    client.log_batch(run_id, metrics=[Metric(*point) for point in action.data["metrics"]])


def _data_set(client: "MlflowClient", run_id: str, action: Action) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag(name, value) for name, value in action.data["tags"].items()]
    data_set = Dataset(source_type="local", **action.data["data_set"])
    client.log_inputs(run_id, datasets=[DatasetInput(data_set, tags)])


def _text(client: "MlflowClient", run_id: str, action: Action) -> None:
    client.log_text(run_id, action.data["text"], action.data["name"])


def _file(client: "MlflowClient", run_id: str, action: Action) -> None:
    for path in action.files.values():
        client.log_artifact(run_id, str(path), action.data["folder"])


def _files(client: "MlflowClient", run_id: str, action: Action) -> None:
    for path in action.files.values():
        client.log_artifacts(run_id, str(path), action.data["folder"])


def _reopen(client: "MlflowClient", run_id: str, action: Action) -> None:
    if ERROR_TAG in client.get_run(run_id).data.tags:
        client.delete_tag(run_id, ERROR_TAG)
    client.update_run(run_id, status="RUNNING")


def _end(client: "MlflowClient", run_id: str, action: Action) -> None:
    client.set_terminated(run_id, action.data["status"], action.data["time"])


KINDS: "dict[str, Callable[[MlflowClient, str, Action], None]]" = {
    "params": _params,
    "tags": _tags,
    "metrics": _metrics,
    "data_set": _data_set,
    "text": _text,
    "file": _file,
    "files": _files,
    "reopen": _reopen,
    "end": _end,
}
