"""The files in the workspace that belong to its model; files of another model are left out.

Metrics belong to the model if the record of the evaluation beside them or dvc.lock says so by
digests. The report holds the digest of its model, and the figures; the dashboard is known from
dvc.lock.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.data.splits import Manifest, read_manifest, read_split
from rhobeta.errors import RhobetaError
from rhobeta.lineage.repository import DETAILS, MODEL, Lock, Repository
from rhobeta.metrics.evaluation import read_record
from rhobeta.model.model_file import read_model
from rhobeta.model.serialization import SavedModel
from rhobeta.paths import Paths
from rhobeta.tracking.backfill import WorkspaceArtifacts
from rhobeta.tracking.training_run import history_of_model
from rhobeta.utils.files import md5_of_bytes

_REPORT = "reports/report.html"
_DASHBOARD = "reports/dashboard.html"


def find_artifacts(paths: Paths) -> WorkspaceArtifacts:
    """Look through the workspace. Raises `RhobetaError` if its model cannot be loaded."""
    saved = read_model(paths.model)
    md5, lock = md5_of_bytes(saved.content), Repository(paths.workspace).lock()
    description, manifest = saved.description, _manifest(saved, paths)
    history = history_of_model(paths.history, description.best_epoch, description.best_loss)
    measured = _is_locked(lock, "evaluate", DETAILS, paths.details, md5)
    drawn = _is_locked(lock, "visualize", _REPORT, paths.report, md5)
    dashboard = _is_locked(lock, "visualize", _DASHBOARD, paths.dashboard, md5)
    reported = paths.report.is_file() and saved.sha256.encode() in paths.report.read_bytes()
    return WorkspaceArtifacts(
        saved=saved,
        example=_example(saved, manifest, paths),
        history=paths.history if history is not None else None,
        manifest=manifest,
        metrics=paths.details if measured or _is_recorded(saved, paths) else None,
        evaluate=lock.parameters("evaluate") if measured else {},
        report=paths.report if reported and paths.figures.is_dir() else None,
        pages=[paths.dashboard] if dashboard else [],
        figures=paths.figures,
        visualize=lock.parameters("visualize") if drawn else {},
    )


def _manifest(saved: SavedModel, paths: Paths) -> Manifest | None:
    try:
        found = read_manifest(paths.splits)
    except RhobetaError:
        return None
    return found if found.sha256 == saved.description.data_sha256 else None


def _is_recorded(saved: SavedModel, paths: Paths) -> bool:
    try:
        read_record(saved.sha256, paths)
    except RhobetaError:
        return False
    return True


def _is_locked(lock: Lock, stage: str, name: str, path: Path, md5: str) -> bool:
    """Whether dvc.lock says that `stage` made this file from the model with this MD5."""
    return (
        path.is_file()
        and lock.read(stage, MODEL) == md5
        and lock.written(stage, name) == md5_of_bytes(path.read_bytes())
    )


def _example(saved: SavedModel, manifest: Manifest | None, paths: Paths) -> NDArray[np.float32]:
    """Two images for the packaged model: of the data if that is here, else blank ones."""
    if manifest is not None:
        try:
            return pixels_of(read_split(paths.splits, "train", manifest).values[:2])
        except RhobetaError:
            pass
    try:
        return read_record(saved.sha256, paths).reconstructions[:2]
    except RhobetaError:
        return np.zeros((2, saved.model.architecture.features), np.float32)
