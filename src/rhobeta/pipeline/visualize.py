"""Stage 5: draw the figures and write the report."""

from typing import TYPE_CHECKING

from rhobeta.config.params import Params, flatten
from rhobeta.config.sections import VisualizeParams
from rhobeta.metrics.evaluation import TestRecord, first_of_each_class, read_record
from rhobeta.model.model_file import read_model
from rhobeta.paths import Paths
from rhobeta.reporting import codes, curves
from rhobeta.reporting import pictures as images
from rhobeta.reporting.dashboard import render_dashboard
from rhobeta.reporting.rate_distortion import Curves, read_curves
from rhobeta.reporting.report import render_report
from rhobeta.reporting.style import save, style
from rhobeta.reporting.task_figures import draw_tasks
from rhobeta.tracking.backfill import run_of_model
from rhobeta.tracking.evaluation_log import log_visualization
from rhobeta.utils.files import atomic_folder, read_json, require_file, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run(params: Params, paths: Paths) -> None:
    """Draw what evaluate measured; log the figures and the report into the model's run."""
    saved = read_model(paths.model)
    metrics = read_json(paths.metrics, made_by="rhobeta evaluate")
    record = read_record(saved.sha256, paths)
    text = require_file(paths.history, made_by="rhobeta train").read_text(encoding="utf-8")
    history = curves.read_history(text, name=str(paths.history))
    example = record.examples[:2].reshape(2, -1)
    tracked = run_of_model(paths, params.runtime.experiment, saved, example=example)
    settings = params.visualize
    architecture = saved.model.architecture

    with style(), atomic_folder(paths.figures) as folder:
        figures = {
            "reconstructions": images.draw_reconstructions(
                record.examples,
                record.activity[first_of_each_class(record.labels)],
                record.reconstructions,
            ),
            "filters": images.draw_filters(
                images.decoder_filters(saved.model), record.top_units[: settings.filters]
            ),
            "unit_activity": codes.draw_unit_activity(record.activity, saved.rho),
            "activity": codes.draw_activity_distribution(
                record.activity, record.l0_counts, record.l0_threshold.item()
            ),
            "embedding": _draw_embedding(record, settings),
            "class_code": codes.draw_class_code(record.activity, record.labels),
            "learning_curves": curves.draw_learning_curves(
                history, saved.description.best_epoch, saved.rho
            ),
            **draw_tasks(
                metrics,
                _read_curves(paths) if "compression" in metrics else {},
                units=architecture.units,
                pixels=architecture.pixels,
            ),
        }
        for name, figure in figures.items():
            save(figure, folder / f"{name}.png", settings.dpi)
        report = render_report(saved, metrics, {name: folder / f"{name}.png" for name in figures})
    write_text(paths.report, report)
    write_text(paths.dashboard, render_dashboard(saved, record, count=settings.filters))
    log_visualization(
        tracked, flatten(settings, "visualize."), paths.figures, paths.report, [paths.dashboard]
    )
    print(f"wrote {len(figures)} figures to {paths.figures} and the report to {paths.report}")


def _draw_embedding(record: TestRecord, settings: VisualizeParams) -> "Figure":
    count = settings.embedding_images
    how = {"tsne": "t-SNE", "pca": "first two principal components"}[settings.embedding]
    print(f"laying out {min(count, len(record.labels)):,} codes by {how}", flush=True)
    points = codes.embed(record.activity[:count], settings.embedding)
    return codes.draw_embedding(points, record.labels[:count], how)


def _read_curves(paths: Paths) -> Curves:
    text = require_file(paths.rate_distortion, made_by="rhobeta evaluate").read_text("utf-8")
    return read_curves(text, name=str(paths.rate_distortion))
