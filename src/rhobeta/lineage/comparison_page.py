"""The page of a comparison: one HTML file with tables, learning curves and decoder filters."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from rhobeta.errors import RhobetaError
from rhobeta.lineage.comparison import Comparison, SeedGroup, seeds_in_words
from rhobeta.lineage.models import read_package
from rhobeta.lineage.project import Project
from rhobeta.lineage.runs import RunInfo
from rhobeta.model.autoencoder import Autoencoder
from rhobeta.model.serialization import SavedModel, model_from_bytes
from rhobeta.reporting.pages import png_source, render_template
from rhobeta.reporting.pictures import decoder_filters, draw_filters
from rhobeta.reporting.style import CLASS_COLOURS, INK, save, style
from rhobeta.tracking.view import curve_name
from rhobeta.utils.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILTERS = 40

_DPI = 110
_PANELS = {"loss": "Loss", "mse": "Mean squared error", "penalty": "Penalty"}
_LINES: dict[str, Literal[":", "-"]] = {"train": ":", "validation": "-"}

Curves = Mapping[str, tuple[list[int], list[float]]]
"""Epochs and values of `train/loss`, `validation/mse`, and so on."""


@dataclass(frozen=True)
class Filters:
    """The decoder filters of a group's first training."""

    letter: str
    source: str
    """The picture; empty where there is none."""
    words: str
    """How many filters it shows and how long they are, or why there is no picture."""


def write_page(comparison: Comparison, project: Project) -> None:
    """Write `reports/compare.html`, with curves from the store and filters from the models."""
    groups = comparison.groups
    curves = {
        group.letter: [curves_of(run, project) for run in group.members if run.id]
        for group in groups
    }
    with style(), tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "figure.png"
        figure = draw_curves(curves)
        page = render_template(
            "compare.html.j2",
            comparison=comparison,
            seeds={group.letter: seeds_in_words(group) for group in groups},
            curves="" if figure is None else _source(figure, picture),
            filters=[_filters(group, project, picture) for group in groups],
            several=any(len(group.members) > 1 for group in groups),
        )
    write_text(project.paths.comparison, page)


def curves_of(run: RunInfo, project: Project) -> Curves:
    """The run's curves by name, from the metric history in the store."""
    store = project.runs.store
    names = [f"{split}/{name}" for split in _LINES for name in _PANELS]
    curves = {}
    for name in names:
        # Earlier runs have the name that the training uses.
        logged = next((n for n in (curve_name(name), name) if n in run.metrics), None)
        if store is not None and logged is not None:
            history = store.client.get_metric_history(run.id, logged)
            points = {point.step: point.value for point in history}
            curves[name] = (sorted(points), [points[step] for step in sorted(points)])
    return curves


def model_of(run: RunInfo, project: Project) -> SavedModel:
    """The model of a compared training. Raises `RhobetaError` where it cannot be read."""
    # A training without a run was named by its model file.
    content = read_package(project.runs, run).content if run.id else Path(run.name).read_bytes()
    return model_from_bytes(content, name=run.name)


def draw_curves(curves: Mapping[str, Sequence[Curves]]) -> "Figure | None":
    """Loss, squared error and penalty by epoch, a colour a group, a line a training.

    Zeros, which a logarithmic scale cannot show, are left out, and so is a panel without values.
    None where nothing is left.
    """
    panels = [name for name in _PANELS if _is_drawn(curves, name)]
    if not panels:
        return None
    colours: list[Any] = list(CLASS_COLOURS[: len(curves)])
    if len(curves) > len(colours):
        colours = [colormaps["turbo"](index / (len(curves) - 1)) for index in range(len(curves))]
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.9), squeeze=False)
    for axis, name in zip(axes[0], panels, strict=True):
        for colour, members in zip(colours, curves.values(), strict=True):
            for member in members:
                for split, line in _LINES.items():
                    epochs, values = member.get(f"{split}/{name}", ([], []))
                    above = np.where(np.asarray(values) > 0, values, np.nan)
                    marker = "." if len(values) == 1 else None
                    axis.plot(epochs, above, line, color=colour, linewidth=1.3, marker=marker)
        axis.set(title=_PANELS[name], xlabel="epoch", yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    handles = [
        *(Line2D([], [], color=c, label=name) for c, name in zip(colours, curves, strict=True)),
        *(Line2D([], [], color=INK, linestyle=line, label=split) for split, line in _LINES.items()),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 14))
    return figure


def draw_longest_filters(model: Autoencoder) -> "tuple[Figure, str]":
    """The `FILTERS` decoder filters of greatest length (L2), longest first; and their lengths."""
    filters = decoder_filters(model)
    lengths: Any = np.linalg.norm(filters.reshape(len(filters), -1), axis=1)
    order = np.argsort(-lengths, kind="stable")[:FILTERS]
    figure = draw_filters(filters, order, title="")
    shown = f"{len(order)} of {len(filters)}" if len(order) < len(filters) else f"{len(order)}"
    span = f"{lengths[order[0]]:.3g} to {lengths[order[-1]]:.3g}"
    return figure, f"{shown} units; length {span}"


def _is_drawn(curves: Mapping[str, Sequence[Curves]], name: str) -> bool:
    members = [member for group in curves.values() for member in group]
    names = [f"{split}/{name}" for split in _LINES]
    return any(value > 0 for m in members for n in names for value in m.get(n, ([], []))[1])


def _filters(group: SeedGroup, project: Project, picture: Path) -> Filters:
    try:
        figure, words = draw_longest_filters(model_of(group.members[0], project).model)
    except RhobetaError as error:
        return Filters(group.letter, "", str(error).partition("\n")[0])
    return Filters(group.letter, _source(figure, picture), words)


def _source(figure: "Figure", picture: Path) -> str:
    save(figure, picture, _DPI)
    return png_source(picture.read_bytes())
