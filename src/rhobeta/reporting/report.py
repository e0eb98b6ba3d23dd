"""The report: one HTML file that needs no other, with numbers, figures and how to read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rhobeta.model.weights import SavedModel
from rhobeta.reporting.introduction import introduction
from rhobeta.reporting.pages import png_source, render_page
from rhobeta.reporting.plain_words import plain_words
from rhobeta.reporting.rows import Row, result_rows
from rhobeta.reporting.task_rows import task_rows, unscored_tasks


@dataclass(frozen=True)
class Section:
    """A figure with a sentence on how to read it."""

    figure: str
    title: str
    reading: str


SECTIONS = (
    Section(
        "reconstructions",
        "What the model sees",
        "Above, the first test image of each class; in the middle its code, a square of units of"
        " which few are bright; below, the image that the decoder makes of that code alone. Blur"
        " and missing strokes are what the code does not carry.",
    ),
    Section(
        "filters",
        "What each unit draws",
        "Red adds ink, blue takes it away, white does nothing. Local strokes are what a sparse code"
        " is after; a filter that looks like noise belongs to a unit that learned nothing.",
    ),
    Section(
        "unit_activity",
        "How busy each unit is",
        "Where there is a target, the dashed line, the penalty pulls every bar towards it. Bars of"
        " zero are dead units; a few tall ones carry what most images share.",
    ),
    Section(
        "activity",
        "How sparse the code is",
        "Left: most activations should lie near zero, on a logarithmic scale. Right: how many units"
        " describe an image; a narrow hill far to the left is a sparse code.",
    ),
    Section(
        "embedding",
        "Where images lie in the space of codes",
        "Near points have similar codes. Islands of one colour mean that the code separates that"
        " class, though no label was used in training. Distances between islands mean little.",
    ),
    Section(
        "class_code",
        "Which units stand for which class",
        "Each row is a class, each column a unit. A column that is bright in one row alone belongs"
        " to a unit that is selective for that class.",
    ),
    Section(
        "learning_curves",
        "How training went",
        "The dotted line is the epoch whose weights were kept. Validation above train and rising is"
        " overfitting; a penalty that stays high means that beta is too small to reach rho.",
    ),
)


USE_SECTIONS = {
    "sparse_probe": Section(
        "sparse_probe",
        "Telling classes from few units",
        "Each class is told from the rest by the few units that differ most. A curve that is high"
        " at the left belongs to a code whose single units stand for classes; at the right end,"
        " one classifier sees everything.",
    ),
    "few_labels": Section(
        "few_labels",
        "Learning from few labels",
        "The code is learned without labels; a classifier on it then learns from this many labelled"
        " images of each class. A curve above the others at the left saves labelling.",
    ),
    "denoising": Section(
        "denoising",
        "Removing noise",
        "Noisy images go through the model, which saw noise before only if training.noise asked"
        " for it. It is of use where its line lies above that of the Wiener filter, the best linear"
        " one; it can hardly rise above the dotted line, its quality on clean images.",
    ),
    "anomaly": Section(
        "anomaly",
        "Spotting what is unknown",
        "For each choice of known classes, how surely an image of another class looks stranger"
        " than one of these: by its code, and by what PCA fails to reconstruct. The code was"
        " learned from images of all classes, without their labels.",
    ),
    "compression": Section(
        "rate_distortion",
        "Saving space",
        "Further left is smaller, further down is closer to the original. The star is the code at"
        " the coarsest rounding that costs it little; the rings are what PCA and JPEG need for the"
        " same error, or the least that they can do where all of their curve lies below.",
    ),
}


def render_report(
    saved: SavedModel,
    metrics: Mapping[str, Mapping[str, Any]],
    figures: Mapping[str, Path],
) -> str:
    """The report of a model, its metrics and its figures (PNG files by name) as HTML."""
    return render_page(
        "report.html.j2",
        saved,
        introduction=introduction(saved),
        plain_words=plain_words(metrics),
        unscored=unscored_tasks(metrics),
        rows=result_rows(metrics),
        uses=_spanned(task_rows(metrics)),
        use_sections=[section for use, section in USE_SECTIONS.items() if use in metrics],
        sections=SECTIONS,
        pictures={name: png_source(path.read_bytes()) for name, path in figures.items()},
        best_epoch=saved.description.best_epoch,
        model_sha256=saved.sha256,
        data_sha256=saved.description.data_sha256,
    )


def _spanned(rows: list[Row]) -> list[list[list[Row]]]:
    # Rows of the same meaning share its cell, and of these the rows of one setting share a name.
    return [
        [list(group) for _, group in groupby(same, lambda row: row.name)]
        for _, same in groupby(rows, lambda row: row.meaning)
    ]
