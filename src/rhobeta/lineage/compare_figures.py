"""The figures of a comparison: learning curves over each other, and decoder filters."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rhobeta.model.autoencoder import Autoencoder
from rhobeta.reporting.pictures import decoder_filters, draw_filters
from rhobeta.reporting.style import CLASS_COLOURS, INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rhobeta.lineage.run_artifacts import Curves

FILTERS = 40

_PANELS = (("loss", "Loss"), ("mse", "Mean squared error"), ("penalty", "Penalty"))
_LINES: dict[str, Literal[":", "-"]] = {"train": ":", "validation": "-"}


def draw_curves(curves: Mapping[str, "Sequence[Curves]"]) -> "Figure | None":
    """Loss, squared error and penalty by epoch, a colour a group, a line a training.

    `curves` are those of each group's trainings by its letter. Values of zero, which a logarithmic
    scale does not have, are left out, and so is a panel without any. None where nothing is left.
    """
    panels = [panel for panel in _PANELS if _drawn(curves, panel[0])]
    if not panels:
        return None
    colours = _colours(len(curves))
    figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.9), squeeze=False)
    for axis, (name, title) in zip(axes[0], panels, strict=True):
        for colour, members in zip(colours, curves.values(), strict=True):
            for member in members:
                for split, line in _LINES.items():
                    epochs, values = member.get(f"{split}/{name}", ([], []))
                    above = np.where(np.asarray(values) > 0, values, np.nan)
                    marker = "." if len(values) == 1 else None
                    axis.plot(epochs, above, line, color=colour, linewidth=1.3, marker=marker)
        axis.set(title=title, xlabel="epoch", yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    handles = [
        *(Line2D([], [], color=c, label=letter) for c, letter in zip(colours, curves, strict=True)),
        *(Line2D([], [], color=INK, linestyle=line, label=split) for split, line in _LINES.items()),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 14))
    return figure


def draw_longest_filters(model: Autoencoder) -> "tuple[Figure, str]":
    """The `FILTERS` decoder filters of greatest length (L2), longest first; and their lengths."""
    filters = decoder_filters(model)
    lengths = np.linalg.norm(filters.reshape(len(filters), -1), axis=1)
    order = longest_first(lengths)
    figure = draw_filters(filters, order, title="")
    shown = f"{len(order)} of {len(filters)}" if len(order) < len(filters) else f"{len(order)}"
    span = f"{lengths[order[0]]:.3g} to {lengths[order[-1]]:.3g}"
    return figure, f"{shown} units; length {span}"


def longest_first(lengths: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Units by their filters' lengths, at most `FILTERS`; of equal ones the first unit first."""
    order: NDArray[np.int64] = np.argsort(-lengths, kind="stable")[:FILTERS]
    return order


def _drawn(curves: Mapping[str, "Sequence[Curves]"], name: str) -> bool:
    return any(
        value > 0
        for members in curves.values()
        for member in members
        for split in _LINES
        for value in member.get(f"{split}/{name}", ([], []))[1]
    )


def _colours(count: int) -> list[Any]:
    if count <= len(CLASS_COLOURS):
        return list(CLASS_COLOURS[:count])
    return [colormaps["turbo"](index / (count - 1)) for index in range(count)]
