"""Values under the pointer: where the points of a figure lie in its picture, and what they mean."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.container import BarContainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of a longer line or a wider bar chart, evenly spaced points are taken: the page stays small.
_MOST_POINTS = 250

POINT_TEXTS = "rhobeta_point_texts"
"""Attribute of a line or a scatter plot: a text for each of its points."""


class Spot(NamedTuple):
    """A point of a figure."""

    x: float
    """From the left edge of the picture, in thousandths of its width."""
    y: float
    """From the upper edge, in thousandths of its height."""
    text: str
    """Its line and its values, or what `POINT_TEXTS` says."""


def spots_of(figure: "Figure") -> list[Spot]:
    """The points of the lines, bars and scatter plots of a figure that has been drawn.

    Lines across a whole axis, such as a target, have none.
    """
    spots = []
    for axis in figure.axes:
        found = [*_points(axis), *_bars(axis), *_scattered(axis)]
        if not found:
            continue
        across, up, texts = zip(*found, strict=True)
        shown = axis.transData.transform(np.column_stack([across, up]))
        inside = axis.transAxes.inverted().transform(shown)
        places = figure.transFigure.inverted().transform(shown) * 1000
        spots += [
            Spot(round(float(x), 1), round(1000 - float(y), 1), text)
            for (x, y), text, within in zip(places, texts, inside, strict=True)
            if (abs(within - 0.5) < 0.501).all()
        ]
    return spots


def _points(axis: "Axes") -> Iterator[tuple[float, float, str]]:
    names = {
        float(tick): label.get_text()
        # Panels that share an axis have no labels but the lowest.
        for tick, label in zip(axis.get_xticks(), axis.get_xticklabels(), strict=False)
    }
    for line in axis.lines:
        if line.get_transform() != axis.transData:
            continue
        label = str(line.get_label())
        start = "" if label.startswith("_") else f"{label}, "
        points = np.asarray(line.get_xydata(), dtype=float)
        texts = getattr(line, POINT_TEXTS, None)
        for index in _thinned(len(points)):
            x, y = map(float, points[index])
            if texts is not None:
                yield x, y, f"{start}{texts[index]}: {y:.4g}"
                continue
            name = names.get(x, "")
            # Not a formula, such as a power of ten.
            name = name if name and "$" not in name else f"{x:g}"
            yield x, y, f"{start}{_plain(axis.get_xlabel())} {name}: {y:.4g}"


def _bars(axis: "Axes") -> Iterator[tuple[float, float, str]]:
    for container in axis.containers:
        bars = list(container.patches) if isinstance(container, BarContainer) else []
        for index in _thinned(len(bars)):
            x, y = bars[index].get_center()[0], bars[index].get_height()
            yield x, y, f"{_plain(axis.get_xlabel())} {x:g}: {y:.4g}"


def _scattered(axis: "Axes") -> Iterator[tuple[float, float, str]]:
    from matplotlib.collections import PathCollection

    for collection in axis.collections:
        if isinstance(collection, PathCollection):
            places = np.asarray(collection.get_offsets(), dtype=float)
            texts = getattr(collection, POINT_TEXTS, [""] * len(places))
            for (x, y), text in zip(places, texts, strict=True):
                yield float(x), float(y), text


def _thinned(count: int) -> list[int]:
    return [round(place) for place in np.linspace(0, count - 1, min(count, _MOST_POINTS))]


def _plain(label: str) -> str:
    return label.removesuffix(" (log)").replace("\n", " ")
