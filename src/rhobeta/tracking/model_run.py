"""The run of a model that exists already: found by its digest, or restored."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rhobeta.model.serialization import ModelDescription, SavedModel
from rhobeta.paths import Paths
from rhobeta.tracking.outbox import outbox_of, run_waiting_for_model
from rhobeta.tracking.package import log_model
from rhobeta.tracking.run import Run, find_run_of_model, new_run
from rhobeta.tracking.store import (
    Store,
    StoreAwayError,
    open_store,
    store_that_is_away,
    store_uri,
    without_password,
)
from rhobeta.tracking.tags import DATA_TAG, RESTORED_TAG, STAGE_TAG
from rhobeta.tracking.training_run import history_of_model, model_tags, run_name
from rhobeta.utils.files import sha256_of_file


def open_store_of_model(paths: Paths, experiment: str) -> Store:
    """Open the store; where it is away, go on if something of the model's run waits for it already.

    That is so after a training whose end could not be delivered. Without such a run the model's
    could not be found, and `RhobetaError` is raised as by `open_store`.
    """
    try:
        return open_store(paths, experiment)
    except StoreAwayError:
        if not paths.model.is_file():
            raise
        digest = sha256_of_file(paths.model)
        waiting = run_waiting_for_model(outbox_of(paths), store_uri(paths), digest)
        if waiting is None:
            raise
    print(
        f"note: the MLflow server {without_password(store_uri(paths))} does not answer; run"
        f" {waiting.run_id} of this model waits for it in {waiting.folder}, and what is measured"
        " now waits with it",
        flush=True,
    )
    return store_that_is_away(paths, waiting.experiment_id)


def run_of_model(
    store: Store, saved: SavedModel, *, history: Path, example: NDArray[np.float32]
) -> Run:
    """The run that made this model; where the store has none, one that is restored, which is said.

    `history` and `example` are as `restored_run` takes them.
    """
    found = find_run_of_model(store, saved.sha256)
    if found is not None:
        return found
    run = restored_run(store, saved, history=history, example=example)
    print(f"this model has no MLflow run in the store; restored one from its file: {run.run_id}")
    return run


def restored_run(
    store: Store, saved: SavedModel, *, history: Path, example: NDArray[np.float32]
) -> Run:
    """A run made anew of a model whose own run the store does not have.

    That happens when DVC brings a model from its cache or a remote: the training never ran here.
    A restored run has the parameters, the history and the model, is marked by the tag
    `rhobeta.restored`, and claims no code: which commit trained the model is not known here.
    `example` is a few images for the packaged model ([images, pixels] in [0, 1]).
    """
    description = saved.description
    tags = {
        STAGE_TAG: "restored",
        RESTORED_TAG: "true",
        DATA_TAG: description.data_sha256,
        **model_tags(saved.content),
        "rhobeta.best_epoch": str(description.best_epoch),
    }
    with new_run(store, name=run_name(description.parameters), tags=tags) as run:
        run.log_params(description.parameters)
        log_history(run, history, description)
        log_model(run, saved.content, example=example)
    return run


def log_history(run: Run, path: Path, description: ModelDescription) -> None:
    """Log the metrics of every epoch from the file, where it is this model's."""
    found = history_of_model(path, description.best_epoch, description.best_loss)
    if found is None:
        return
    text, rows = found
    best = next(row for row in rows if row["epoch"] == description.best_epoch)
    run.log_metrics(
        {
            f"best/{column.removeprefix('validation_')}": value
            for column, value in best.items()
            if column.startswith("validation_")
        }
    )
    for row in rows:
        step = int(row.pop("epoch"))
        run.buffer_metrics({_metric(column): value for column, value in row.items()}, step=step)
    run.flush()
    run.log_text(text, "history.csv")


def _metric(column: str) -> str:
    for split in ("train", "validation"):
        if column.startswith(f"{split}_"):
            return f"{split}/{column.removeprefix(f'{split}_')}"
    return column
