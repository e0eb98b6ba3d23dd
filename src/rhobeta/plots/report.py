"""The report: one HTML file that needs no other, with numbers, figures and how to read them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhobeta.model.objective import ng_beta
from rhobeta.model.weights import SavedModel
from rhobeta.plots.results import result_rows


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
        "The penalty pulls every bar towards the dashed line. Bars of zero are dead units; a few"
        " tall ones carry what most images share.",
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


def render_report(
    saved: SavedModel,
    metrics: Mapping[str, Mapping[str, Any]],
    figures: Mapping[str, Path],
) -> str:
    """The report of a model, its metrics and its figures (PNG files by name) as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rhobeta.plots", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parameters = saved.description.parameters
    layers = [str(size) for size in saved.model.architecture.layer_sizes]
    pictures = {
        name: base64.b64encode(path.read_bytes()).decode("ascii") for name, path in figures.items()
    }
    return environment.get_template("report.html.j2").render(
        parameters=parameters,
        layers="-".join([*layers, *layers[-2::-1]]),
        penalised=saved.rho is not None,
        ng_beta=ng_beta(float(parameters["penalty.beta"]), saved.model.architecture.pixels),
        rows=result_rows(metrics),
        sections=SECTIONS,
        pictures=pictures,
        best_epoch=saved.description.best_epoch,
        model_sha256=saved.sha256,
        data_sha256=saved.description.data_sha256,
    )
