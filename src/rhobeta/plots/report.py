"""The report: one HTML file that needs no other, with numbers, figures and how to read them."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhobeta.model.objective import ng_beta
from rhobeta.model.weights import SavedModel


@dataclass(frozen=True)
class Row:
    """One line of the table of results."""

    name: str
    value: str
    floor: str
    verdict: str
    meaning: str


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
        "Above, the first test image of each class; below, what is left of it after the code. Blur"
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
        rows=result_rows(metrics, saved.rho),
        sections=SECTIONS,
        pictures=pictures,
        best_epoch=saved.description.best_epoch,
        model_sha256=saved.sha256,
        data_sha256=saved.description.data_sha256,
    )


def result_rows(metrics: Mapping[str, Mapping[str, Any]], rho: float | None) -> list[Row]:
    """The table of results, each beside its floor with a verdict."""
    reconstruction, sparsity = metrics["reconstruction"], metrics["sparsity"]
    floors, probe, beats = metrics["floors"], metrics["probe"], metrics["beats"]
    mse = f"{reconstruction['mse']:.5f}"

    def against(floor: str, name: str, meaning: str) -> Row:
        return Row(
            f"MSE against {name}",
            mse,
            f"{floors[f'{floor}_mse']:.5f}",
            _verdict(beats[floor]),
            meaning,
        )

    rows = [
        against("mean_image", "the mean image", "squared error per pixel; lower is better"),
        against("pca", "PCA of the same size", "the best linear code with as many numbers"),
        against("pca_clipped", "PCA clipped to [0, 1]", "the same, helped to stay in range"),
        Row("FVU", f"{reconstruction['fvu']:.3f}", "1", "", "share of the variance not explained"),
        Row("PSNR", f"{reconstruction['psnr_db']:.2f} dB", "", "", "higher is better"),
        Row(
            "Linear probe",
            f"{probe['code_accuracy']:.2%}",
            f"{probe['pixel_accuracy']:.2%}",
            _verdict(beats["pixel_probe"]),
            "accuracy of a linear classifier on the code; beside it, on raw pixels",
        ),
        Row(
            "Mean activation",
            f"{sparsity['rho_hat_mean']:.4f}",
            "" if rho is None else f"target {rho:g}",
            "",
            f"mean over units; they range from {sparsity['rho_hat_min']:.4f} to"
            f" {sparsity['rho_hat_max']:.4f}",
        ),
    ]
    rows += [
        Row(
            f"L0 above {name.removeprefix('l0@')}", f"{value:.1f}", "", "", "active units per image"
        )
        for name, value in sparsity.items()
        if name.startswith("l0@")
    ]
    rows += [
        Row("Gini", f"{sparsity['gini']:.3f}", "", "", "0 is an even code, towards 1 a sparse one"),
        Row("Hoyer", f"{sparsity['hoyer']:.3f}", "", "", "0 is an even code, 1 one active unit"),
        Row(
            "Treves-Rolls",
            f"{sparsity['treves_rolls']:.3f}",
            "",
            "",
            "1 is an even code, towards 0 a sparse one",
        ),
        Row(
            "Dead, constant, saturated units",
            f"{sparsity['dead_units']}, {sparsity['constant_units']},"
            f" {sparsity['saturated_units']}",
            "0, 0, 0",
            "",
            "units that never rise, never change, never rest",
        ),
    ]
    return rows


def _verdict(beats: bool) -> str:
    return "beats it" if beats else "does not beat it"
