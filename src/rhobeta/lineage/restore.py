"""The run of a model made whole: what it lacks is taken from the files beside the model."""

import json
from typing import TYPE_CHECKING

from rhobeta.data.batches import pixels_of
from rhobeta.data.splits import read_split
from rhobeta.errors import RhobetaError
from rhobeta.lineage.artifacts import Belongings
from rhobeta.lineage.gaps import Gap, gaps_of
from rhobeta.lineage.runs import RunInfo, Runs
from rhobeta.metrics.evaluation import read_record
from rhobeta.model.serialization import SavedModel, read_model
from rhobeta.paths import Paths
from rhobeta.tracking.model_run import log_history, restored_run
from rhobeta.tracking.package import log_model
from rhobeta.tracking.results import log_evaluation, log_visualization
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import Store
from rhobeta.tracking.training_run import log_training_data, model_tags

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def make_whole(store: Store, record: RunInfo | None, belongings: Belongings, paths: Paths) -> str:
    """Restore the run of the model in the workspace if there is none, and add what it lacks.

    Returns its id. Raises `RhobetaError` where the model is not one that can be loaded.
    """
    saved = read_model(paths.model)
    example = _example(saved, belongings, paths)
    records = Runs(store)
    if record is None:
        made = restored_run(store, saved, history=paths.history, example=example)
        record = records.get(made.run_id)
        if record is None:
            raise RhobetaError(f"The store has lost the run {made.run_id} that was just made.")
    run = Run(store, record.id, model_sha256=saved.sha256)
    for gap in gaps_of(record, records, belongings):
        _fill(gap, run, saved, example, belongings, paths)
    return record.id


def _fill(
    gap: Gap,
    run: Run,
    saved: SavedModel,
    example: "NDArray[np.float32]",
    belongings: Belongings,
    paths: Paths,
) -> None:
    match gap:
        case Gap.MODEL:
            log_model(run, saved.content, example=example)
        case Gap.NAME:
            run.set_tags(model_tags(saved.content))
        case Gap.PARAMETERS:
            run.log_params(saved.description.parameters)
        case Gap.HISTORY:
            log_history(run, paths.history, saved.description)
        case Gap.DATA if belongings.manifest is not None:
            log_training_data(run, belongings.manifest)
        case Gap.EVALUATION if belongings.metrics is not None:
            metrics = json.loads(belongings.metrics.read_bytes())
            log_evaluation(
                run, metrics, belongings.evaluate, belongings.manifest, belongings.metrics
            )
        case Gap.FIGURES if belongings.report is not None:
            log_visualization(
                run,
                belongings.visualize,
                belongings.figures,
                belongings.report,
                belongings.pages,
            )


def _example(saved: SavedModel, belongings: Belongings, paths: Paths) -> "NDArray[np.float32]":
    """Two images for the packaged model: of the data where that is here, else blank ones."""
    import numpy as np

    if belongings.manifest is not None:
        try:
            return pixels_of(read_split(paths.splits, "train", belongings.manifest).images[:2])
        except RhobetaError:
            pass
    try:
        return read_record(saved.sha256, paths).examples[:2].reshape(2, -1)
    except RhobetaError:
        return np.zeros((2, saved.model.architecture.pixels), np.float32)
