"""Stage 5: draw the figures and write the report and the unit dashboard."""

from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.config.params import Params, flatten
from rhobeta.config.renamed import current_sections
from rhobeta.config.sections import VisualizeParams
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.metrics.evaluation import TestRecord, read_record
from rhobeta.model.model_file import read_model, require_same_data
from rhobeta.model.serialization import SavedModel
from rhobeta.paths import Paths
from rhobeta.reporting import codes, curves, pictures, vectors
from rhobeta.reporting.dashboard import render_dashboard, unit_features
from rhobeta.reporting.hover import spots_of
from rhobeta.reporting.pictures import decoder_filters
from rhobeta.reporting.report import Picture, render_report
from rhobeta.reporting.style import save, style
from rhobeta.reporting.task_figures import draw_tasks, read_curves
from rhobeta.reporting.thumbnails import make_thumbnails
from rhobeta.reporting.words import TestSamples
from rhobeta.tracking.backfill import run_of_model
from rhobeta.tracking.evaluation_log import log_seconds, log_visualization
from rhobeta.utils.files import atomic_folder, read_json, require_file, write_text
from rhobeta.utils.threads import one_thread

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@one_thread()
def run(params: Params, paths: Paths) -> None:
    """Draw what evaluate measured; log the figures and the pages into the model's run."""
    settings = params.visualize
    saved = read_model(paths.model)
    metrics = current_sections(read_json(paths.details, made_by="rhobeta evaluate"))
    record = read_record(saved.sha256, paths)
    history = curves.read_history(
        _text_of(paths.history, made_by="rhobeta train"), name=str(paths.history)
    )
    rates = read_curves(
        _text_of(paths.rate_distortion, made_by="rhobeta evaluate"), name=str(paths.rate_distortion)
    )
    manifest = read_manifest(paths.splits)
    require_same_data(saved, manifest, paths.model)
    test = TestSamples.of(read_split(paths.splits, "test", manifest), manifest)
    example = test.rows(record.examples[:2]).reshape(len(record.examples[:2]), -1)
    tracked = run_of_model(paths, params.runtime.experiment, saved, example=example)
    size = saved.model.architecture

    with style(), atomic_folder(paths.figures) as folder:
        figures = _draw_samples(saved, record, test, settings)
        figures |= _draw_code(saved, record, test)
        groups = codes.point_groups(record.activity[: settings.embedding_images], test)
        figures["embedding"] = _draw_embedding(record, test, groups, settings)
        figures["learning_curves"] = curves.draw_learning_curves(
            history, saved.description.best_epoch, saved.rho
        )
        figures |= draw_tasks(
            metrics,
            rates,
            units=size.units,
            pixels=size.features,
            class_names=manifest.class_names,
        )
        files = {name: folder / f"{name}.png" for name in figures}
        for name, figure in figures.items():
            save(figure, files[name], settings.dpi)
        report = render_report(
            saved,
            metrics,
            {name: Picture(files[name], spots_of(figure)) for name, figure in figures.items()},
            make_thumbnails(test.samples.values[groups.order]) if test.words.images else None,
            units=[] if test.words.images else unit_features(saved, record, test),
        )
    write_text(paths.report, report)
    write_text(paths.dashboard, render_dashboard(saved, record, test, count=settings.filters))
    log_seconds(tracked, "visualize")
    log_visualization(
        tracked, flatten(settings, "visualize."), paths.figures, paths.report, [paths.dashboard]
    )
    print(f"wrote {len(figures)} figures to {paths.figures} and the report to {paths.report}")


def _text_of(path: Path, *, made_by: str) -> str:
    return require_file(path, made_by=made_by).read_text(encoding="utf-8")


def _draw_samples(
    saved: SavedModel, record: TestRecord, test: TestSamples, settings: VisualizeParams
) -> "dict[str, Figure]":
    """The figures of samples and decoder, by name."""
    filters, shown = decoder_filters(saved.model), record.top_units[: settings.filters]
    if not test.words.images:
        # Dead units have the weights they started with; without others they are drawn all the same.
        alive = shown[record.top_rows[: len(shown), 0] >= 0]
        return {
            "reconstructions": vectors.draw_rows(test, record),
            "feature_errors": vectors.draw_feature_errors(test, record),
            "filters": vectors.draw_decoder_weights(filters, alive if len(alive) else shown, test),
        }
    originals = test.rows(record.examples)
    return {
        "reconstructions": pictures.draw_reconstructions(
            originals,
            record.activity[record.examples],
            record.reconstructions.reshape(originals.shape),
        ),
        "filters": pictures.draw_filters(filters, shown),
    }


def _draw_code(saved: SavedModel, record: TestRecord, test: TestSamples) -> "dict[str, Figure]":
    """The figures of the activities of all units, by name."""
    figures = {
        "unit_activity": codes.draw_unit_activity(record.activity, saved.rho, test.words),
        "activity": codes.draw_activity_distribution(
            record.activity, record.l0_counts, record.l0_threshold.item(), test.words
        ),
    }
    figures["firing_rates"] = codes.draw_firing_rates(
        record.activity, record.l0_threshold.item(), test.words
    )
    if test.labels is not None:
        figures["class_code"] = codes.draw_class_code(
            record.activity, test.labels, test.class_names
        )
    return figures


def _draw_embedding(
    record: TestRecord, test: TestSamples, groups: codes.PointGroups, settings: VisualizeParams
) -> "Figure":
    count = len(groups.numbers)
    method = {"tsne": "t-SNE", "pca": "first two principal components"}[settings.embedding]
    print(f"projecting {count:,} codes by {method}", flush=True)
    points = codes.embed(record.activity[:count], settings.embedding)
    return codes.draw_embedding(points, groups, method, test.words)
