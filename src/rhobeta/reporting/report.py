"""The report: one self-contained HTML file with numbers, figures and how to read them."""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path

from rhobeta.model.serialization import SavedModel
from rhobeta.reporting.pages import png_source, render_page
from rhobeta.reporting.tables import (
    Metrics,
    ResultRow,
    result_rows,
    task_rows,
    unscored_tasks,
    verdict_sentences,
)
from rhobeta.reporting.texts import introduction


def render_report(saved: SavedModel, metrics: Metrics, figures: Mapping[str, Path]) -> str:
    """The report of a model, its metrics and its figures (PNG files by name) as HTML."""
    return render_page(
        "report.html.j2",
        saved,
        introduction=introduction(saved),
        verdicts=verdict_sentences(metrics),
        unscored=unscored_tasks(metrics),
        results=result_rows(metrics),
        tasks=_spanned(task_rows(metrics)),
        pictures={name: png_source(path.read_bytes()) for name, path in figures.items()},
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
