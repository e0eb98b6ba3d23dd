"""The report: one self-contained HTML file with numbers, figures and how to read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from rhobeta.model.serialization import SavedModel
from rhobeta.reporting.dashboard import Card
from rhobeta.reporting.hover import Spot
from rhobeta.reporting.pages import png_source, render_page
from rhobeta.reporting.tables import (
    ResultRow,
    result_rows,
    task_rows,
    unscored_sentences,
    verdict_sentences,
)
from rhobeta.reporting.texts import Metrics, glossary, introduction
from rhobeta.reporting.thumbnails import Thumbnails
from rhobeta.reporting.words import has_labels, words_of

FIGURES = {
    "sparse_probe": "Classification from few units",
    "few_labels": "Classification from few labels",
    "denoising": "Denoising",
    "anomaly": "Anomaly detection",
    "rate_distortion": "Compression",
    "reconstructions": "Reconstructions",
    "feature_errors": "Error by feature",
    "filters": "Decoder filters: what each unit draws",
    "unit_activity": "Mean activation of each unit",
    "activity": "Sparsity of the code",
    "firing_rates": "How often each unit is active",
    "embedding": "Codes in two dimensions",
    "class_code": "Mean code of each class",
    "learning_curves": "Learning curves",
}
"""Titles of the figures, in the order of the report."""

_OF_VECTORS = {"filters": "Decoder weights: what each unit adds"}


@dataclass(frozen=True)
class Picture:
    """A figure as a PNG file, and the values that it shows under the pointer."""

    path: Path
    spots: Sequence[Spot] = ()

    @property
    def source(self) -> str:
        """The picture as an image source."""
        return png_source(self.path.read_bytes())


def render_report(
    saved: SavedModel,
    metrics: Metrics,
    pictures: Mapping[str, Picture],
    thumbnails: Thumbnails | None = None,
    units: Sequence[Card] = (),
) -> str:
    """The report of a model, its metrics and its figures by name as HTML.

    `thumbnails` are of the images whose codes the figure `embedding` shows, in its order; `units`
    those of vectors whose largest features are listed.
    """
    tasks, words = _spanned(task_rows(metrics)), words_of(metrics)
    titles = FIGURES if words.images else FIGURES | _OF_VECTORS
    return render_page(
        "report.html.j2",
        saved,
        introduction=introduction(saved, metrics),
        verdicts=verdict_sentences(metrics),
        unscored=unscored_sentences(metrics),
        results=result_rows(metrics),
        tasks=tasks,
        pictures=pictures,
        titles=titles,
        contents=_contents(titles, pictures, tasks),
        thumbnails=thumbnails,
        units=units,
        words=words,
        labelled=has_labels(metrics),
        colour=len(saved.model.architecture.sample_shape) == 3,
        glossary=glossary(words, labelled=has_labels(metrics)),
        best_epoch=saved.description.best_epoch,
        model_sha256=saved.sha256,
        data_sha256=saved.description.data_sha256,
    )


def _spanned(rows: list[ResultRow]) -> list[list[list[ResultRow]]]:
    # Rows of one meaning share its cell; among them, rows of one setting share the name.
    return [
        [list(group) for _, group in groupby(same, lambda row: row.name)]
        for _, same in groupby(rows, lambda row: row.meaning)
    ]


def _contents(
    titles: Mapping[str, str], pictures: Mapping[str, Picture], tasks: Sequence[object]
) -> list[tuple[str, str]]:
    """Anchors and titles of the sections, in their order."""
    return [
        ("core", "Core results"),
        *([("tasks", "Downstream tasks")] if tasks else []),
        *((name, title) for name, title in titles.items() if name in pictures),
        ("provenance", "Provenance"),
        ("glossary", "Glossary"),
    ]
