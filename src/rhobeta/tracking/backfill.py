"""Find and add what a run is missing from the workspace's files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.config.renamed import current_metric, current_sections
from rhobeta.data.splits import Manifest
from rhobeta.model.serialization import SavedModel
from rhobeta.paths import Paths
from rhobeta.tracking.evaluation_log import log_evaluation, log_visualization
from rhobeta.tracking.package import log_model
from rhobeta.tracking.pending import find_pending
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import Run, find_run_of_model, new_run
from rhobeta.tracking.store import (
    Store,
    StoreUnavailableError,
    open_store,
    pending_folder,
    store_uri,
    unavailable_store,
)
from rhobeta.tracking.tags import (
    DATA_TAG,
    EVALUATION_TAG,
    MODEL_MD5_TAG,
    REPORT_TAG,
    RESTORED_TAG,
    STAGE_TAG,
)
from rhobeta.tracking.training_run import (
    history_of_model,
    log_training_data,
    model_tags,
    run_name,
)
from rhobeta.tracking.upload import logged_model
from rhobeta.tracking.view import curve_name
from rhobeta.utils.files import sha256_of_file

if TYPE_CHECKING:
    from mlflow.entities import Run as RunEntity


class RunPart(Enum):
    """One thing that a run can lack, by the words that messages use, in the order of logging."""

    # MLflow copies the run's parameters to its model.
    PARAMETERS = "the parameters"
    HISTORY = "the history"
    MODEL = "the model"
    MD5 = "the MD5 of the model"
    DATA = "the data"
    EVALUATION = "the evaluation"
    FIGURES = "the figures"


@dataclass(frozen=True)
class WorkspaceArtifacts:
    """A model and the files beside it that belong to it; None for what is not there."""

    saved: SavedModel
    example: NDArray[np.float32]
    """A few images for the packaged model ([images, pixels] in [0, 1])."""
    history: Path | None = None
    manifest: Manifest | None = None
    """Of the data that it was trained on."""
    metrics: Path | None = None
    evaluate: Mapping[str, Any] = field(default_factory=dict)
    """Parameters by path, where dvc.lock says that they made the metrics."""
    report: Path | None = None
    pages: Sequence[Path] = ()
    figures: Path | None = None
    visualize: Mapping[str, Any] = field(default_factory=dict)


def run_of_model(
    paths: Paths, experiment: str, saved: SavedModel, *, example: NDArray[np.float32]
) -> Run:
    """The run that made this model, for a stage that adds to it.

    If the store has none, one is restored from the model and its history. If the server does not
    answer, it is the pending run of the model. Raises `RhobetaError` as `open_store` does if there
    is no such run.
    """
    try:
        store = open_store(paths, experiment)
    except StoreUnavailableError:
        pending = find_pending(pending_folder(paths), store_uri(paths), saved.sha256)
        if pending is None:
            raise
        print(
            f"note: the MLflow server {without_password(store_uri(paths))} does not answer; what"
            f" belongs to run {pending.run_id} of this model is kept in {pending.folder}",
            flush=True,
        )
        return Run(unavailable_store(paths), pending.run_id, model_sha256=saved.sha256)
    found = find_run_of_model(store, saved.sha256)
    if found is not None:
        return found
    history = paths.history if paths.history.is_file() else None
    run = restore_run(store, WorkspaceArtifacts(saved, example, history))
    print(f"this model has no MLflow run in the store; restored one from its file: {run.run_id}")
    return run


def restore_run(store: Store, artifacts: WorkspaceArtifacts) -> Run:
    """A new run of a model whose own run the store does not have, with all that is there of it.

    That happens when DVC brings a model from its cache or a remote: the training never ran here.
    The run has the tag `rhobeta.restored` and names no commit: which code trained the model is not
    known here.
    """
    description = artifacts.saved.description
    tags = {
        STAGE_TAG: "restored",
        RESTORED_TAG: "true",
        DATA_TAG: description.data_sha256,
        **model_tags(artifacts.saved.content),
        "rhobeta.best_epoch": str(description.best_epoch),
    }
    with new_run(store, name=run_name(description.parameters), tags=tags) as run:
        backfill_run(run, RunPart, artifacts)
    return run


def missing_parts(store: Store, run: "RunEntity", artifacts: WorkspaceArtifacts) -> list[RunPart]:
    """What the run lacks of what the workspace holds, in the order in which it is added."""
    tags, inputs = run.data.tags, run.inputs.dataset_inputs if run.inputs else ()
    contexts = {tag.value for used in inputs for tag in used.tags}
    lacking = {
        RunPart.MODEL: logged_model(store.client, run.info.run_id, run.info.experiment_id) is None,
        RunPart.MD5: MODEL_MD5_TAG not in tags,
        RunPart.PARAMETERS: "penalty.kind" not in run.data.params,
        # Earlier runs have the name that the training uses.
        RunPart.HISTORY: artifacts.history is not None
        and not {"train/loss", curve_name("train/loss")} & set(run.data.metrics),
        RunPart.DATA: artifacts.manifest is not None and "training" not in contexts,
        RunPart.EVALUATION: artifacts.metrics is not None
        and tags.get(EVALUATION_TAG) != sha256_of_file(artifacts.metrics),
        RunPart.FIGURES: artifacts.report is not None
        and tags.get(REPORT_TAG) != sha256_of_file(artifacts.report),
    }
    return [part for part in RunPart if lacking[part]]


def backfill_run(run: Run, parts: Iterable[RunPart], artifacts: WorkspaceArtifacts) -> None:
    """Add these parts to the run, as far as the workspace holds them."""
    saved, manifest = artifacts.saved, artifacts.manifest
    for part in parts:
        match part:
            case RunPart.MODEL:
                log_model(run, saved.content, example=artifacts.example)
            case RunPart.MD5:
                run.set_tags(model_tags(saved.content))
            case RunPart.PARAMETERS:
                run.log_params(saved.description.parameters)
            case RunPart.HISTORY if artifacts.history is not None:
                _log_history(run, artifacts.history, saved)
            case RunPart.DATA if manifest is not None:
                log_training_data(run, manifest)
            case RunPart.EVALUATION if artifacts.metrics is not None:
                metrics = current_sections(json.loads(artifacts.metrics.read_bytes()))
                log_evaluation(run, metrics, artifacts.evaluate, manifest, artifacts.metrics)
            case RunPart.FIGURES if artifacts.report is not None and artifacts.figures:
                log_visualization(
                    run, artifacts.visualize, artifacts.figures, artifacts.report, artifacts.pages
                )


def _log_history(run: Run, path: Path, saved: SavedModel) -> None:
    """Log the metrics of every epoch from the file, if it is this model's."""
    best_epoch = saved.description.best_epoch
    found = history_of_model(path, best_epoch, saved.description.best_loss)
    if found is None:
        return
    text, rows = found
    for row in rows:
        epoch = int(row.pop("epoch"))
        if epoch == best_epoch:
            run.log_metrics(
                {
                    current_metric(f"best/{column.removeprefix('validation_')}"): value
                    for column, value in row.items()
                    if column.startswith("validation_")
                }
            )
        run.buffer_metrics({curve_name(current_metric(k)): v for k, v in row.items()}, step=epoch)
    run.flush()
    run.log_text(text, "history.csv")
