"""What the workspace holds of a model, and only that: reports of another model are left out.

Metrics belong to the model where the record of the evaluation beside them, or dvc.lock, says so by
digests. The report holds the digest of its model, and the figures; the atlas is taken by dvc.lock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhobeta.data.splits import Manifest, read_manifest
from rhobeta.errors import RhobetaError
from rhobeta.lineage.repository import METRICS, MODEL, Lock, Repository
from rhobeta.lineage.resolve import ModelFile
from rhobeta.metrics.evaluation import read_record
from rhobeta.paths import Paths
from rhobeta.tracking.training_run import history_of_model
from rhobeta.utils.files import md5_of_bytes

_REPORT = "reports/report.html"
_DASHBOARD = "reports/dashboard.html"


@dataclass(frozen=True)
class Belongings:
    """The files beside a model that belong to it, and the parameters that made them."""

    history: bool
    manifest: Manifest | None
    """Where data/processed is what it was trained on."""
    metrics: Path | None
    evaluate: dict[str, Any]
    """Parameters by path, where dvc.lock says that they made the metrics."""
    report: Path | None
    pages: Sequence[Path]
    figures: Path
    visualize: dict[str, Any]


def belongings_of(model: ModelFile, paths: Paths) -> Belongings:
    """Look through the workspace."""
    lock = Repository(paths.workspace).lock()
    epoch, loss = model.description["best_epoch"], model.description["best_loss"]
    measured = _is_locked(lock, "evaluate", METRICS, paths.metrics, model)
    drawn = _is_locked(lock, "visualize", _REPORT, paths.report, model)
    atlas = _is_locked(lock, "visualize", _DASHBOARD, paths.dashboard, model)
    return Belongings(
        history=history_of_model(paths.history, epoch, loss) is not None,
        manifest=_manifest(model, paths),
        metrics=paths.metrics if measured or _is_recorded(model, paths) else None,
        evaluate=lock.parameters("evaluate") if measured else {},
        report=paths.report if _names(paths.report, model) and paths.figures.is_dir() else None,
        pages=[paths.dashboard] if atlas else [],
        figures=paths.figures,
        visualize=lock.parameters("visualize") if drawn else {},
    )


def _manifest(model: ModelFile, paths: Paths) -> Manifest | None:
    try:
        found = read_manifest(paths.splits)
    except RhobetaError:
        return None
    return found if found.sha256 == model.description["data_sha256"] else None


def _is_recorded(model: ModelFile, paths: Paths) -> bool:
    try:
        read_record(model.sha256, paths)
    except RhobetaError:
        return False
    return True


def _is_locked(lock: Lock, stage: str, name: str, path: Path, model: ModelFile) -> bool:
    """Whether dvc.lock says that `stage` made this very file of this very model."""
    return (
        path.is_file()
        and lock.read(stage, MODEL) == model.md5
        and lock.written(stage, name) == md5_of_bytes(path.read_bytes())
    )


def _names(report: Path, model: ModelFile) -> bool:
    return report.is_file() and model.sha256.encode() in report.read_bytes()
