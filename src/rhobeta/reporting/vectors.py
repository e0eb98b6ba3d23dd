"""Figures and lists of features, for rows that are not images."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from rhobeta.metrics.evaluation import TestRecord
from rhobeta.reporting.hover import POINT_TEXTS
from rhobeta.reporting.style import BLUE, DIVERGING, GREY, INK, ORANGE
from rhobeta.reporting.words import TestSamples

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_EXAMPLES = 6
_COLUMNS = 2
# Up to this number each feature has its own tick and marker.
_FEW_FEATURES = 30
_LONGEST_NAME = 18


class Weight(NamedTuple):
    """What a unit adds to one feature."""

    name: str
    value: float
    percent: float
    """Of the largest of the unit, -100 to 100."""


def largest_features(
    weights: NDArray[np.float32], test: TestSamples, *, count: int
) -> list[Weight]:
    """The `count` features of largest absolute weight of a unit ([features]), largest first.

    Features that the unit leaves alone are left out.
    """
    size = np.abs(weights)
    chosen = np.argsort(-size, kind="stable")[:count]
    percent = 100 * weights / (size.max() or 1)
    return [
        Weight(test.feature_name(feature), float(weights[feature]), float(percent[feature]))
        for feature in chosen.tolist()
        if size[feature] > 0
    ]


def draw_rows(test: TestSamples, record: TestRecord) -> "Figure":
    """Rows and their reconstructions over the features; of more than six, six evenly spaced."""
    places = np.arange(len(record.examples))
    if len(places) > _MOST_EXAMPLES:
        places = np.linspace(0, len(places) - 1, _MOST_EXAMPLES).round().astype(int)
    rows = record.examples[places]
    originals, rebuilt = test.rows(rows), record.reconstructions[places]
    unit = "value"
    if test.scales is not None:
        mean = test.samples.values.mean(0, dtype=np.float64)
        originals, rebuilt = (
            ((values - mean) / test.scales).astype(np.float32) for values in (originals, rebuilt)
        )
        unit = "value (standard deviations)"
    height = -(-len(rows) // _COLUMNS)
    figure, axes = plt.subplots(
        height,
        min(_COLUMNS, len(rows)),
        figsize=(9, 1.75 * height + 0.5 + _room_for_names(test)),
        sharex=True,
        squeeze=False,
    )
    few = originals.shape[1] <= _FEW_FEATURES
    names = [test.feature_name(feature) for feature in range(originals.shape[1])]
    for axis, row, x, x_hat in zip(axes.flat, rows.tolist(), originals, rebuilt, strict=False):
        lines = axis.plot(x, color=ORANGE, lw=3.5, alpha=0.55, label="original")
        lines += axis.plot(
            x_hat, color=BLUE, lw=1.2, marker="o" if few else None, ms=3, label="reconstruction"
        )
        for line in lines:
            setattr(line, POINT_TEXTS, names)
        name = f"row {row}"
        if test.labels is not None:
            name += f", class {test.class_name(int(test.labels[row]))}"
        axis.set_title(name, fontsize=10)
        # Features of little spread may be far off, and would hide the others.
        low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
        margin = 0.35 * (high - low) or 1.0
        if test.scales is not None:
            axis.set_ylim(low - margin, high + margin)
    for axis in axes.flat[len(rows) :]:
        axis.set_axis_off()
    for axis in axes[-1]:
        _name_features(axis, test)
    figure.supylabel(unit, fontsize=10, color=INK)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure


def draw_feature_errors(test: TestSamples, record: TestRecord) -> "Figure":
    """Share of each feature's variance that reconstructions miss: MSE / variance.

    Features that never vary have none. 1 is as good as the mean of the feature.
    """
    varies = test.spreads > 0
    share = np.full(len(varies), np.nan)
    np.divide(record.feature_mse, np.square(test.spreads), out=share, where=varies)
    few = len(share) <= _FEW_FEATURES
    figure, axis = plt.subplots(figsize=(9, 2.7 + _room_for_names(test)))
    if few:
        axis.bar(np.arange(len(share)), share, color=BLUE, width=0.8)
        axis.grid(visible=False, axis="x")
    else:
        (line,) = axis.plot(share, color=BLUE, lw=1.2, label="_of a feature")
        setattr(line, POINT_TEXTS, [test.feature_name(feature) for feature in range(len(share))])
    axis.axhline(1, color=GREY, linestyle="--", label="the mean of the feature")
    axis.legend(loc="upper right")
    _name_features(axis, test)
    top = np.nanmax(share, initial=1)
    logarithmic = top > _FAR_OFF
    if logarithmic:
        axis.set_yscale("log")
    axis.set(
        title="Share of each feature's variance that the reconstruction misses",
        ylabel="unexplained share (log)" if logarithmic else "unexplained share",
        ylim=(None, 3 * top) if logarithmic else (0, 1.15 * top),
    )
    return figure


def draw_decoder_weights(
    weights: NDArray[np.float32], order: NDArray[np.int64], test: TestSamples
) -> "Figure":
    """Weights ([units, features]) of units in `order`, a line each, on its own scale.

    `order` should hold the units that fire: weights of dead units are what they started with.
    """
    chosen = weights[order]
    largest = np.abs(chosen).max(1, keepdims=True)
    shown = chosen / np.where(largest > 0, largest, 1)
    figure, axis = plt.subplots(
        figsize=(9, min(7.5, 1.2 + 0.16 * len(shown)) + _room_for_names(test))
    )
    image = axis.imshow(
        shown, aspect="auto", cmap=DIVERGING, vmin=-1, vmax=1, interpolation="nearest"
    )
    few = len(shown) <= _FEW_FEATURES
    places = np.arange(len(shown)) if few else np.linspace(0, len(shown) - 1, 15).astype(int)
    axis.set_yticks(places, [str(order[place]) for place in places])
    axis.grid(visible=False)
    _name_features(axis, test)
    title = f"Decoder weights of {len(order)} of {len(weights)} units, most active first"
    axis.set(title=title, ylabel="unit")
    bar = figure.colorbar(image, ax=axis, ticks=[-1, 0, 1], pad=0.01)
    bar.ax.set_yticklabels(["lowers", "0", "raises"])
    bar.outline.set_visible(False)
    return figure


def _room_for_names(test: TestSamples) -> float:
    """Height of the names below an axis, in inches."""
    if test.feature_names is None:
        return 0.3
    longest = max(map(len, test.feature_names))
    return 0.3 + 0.07 * min(longest, _LONGEST_NAME)


def _name_features(axis: "Axes", test: TestSamples) -> None:
    count = len(test.spreads)
    if count > _FEW_FEATURES:
        if test.feature_names is None:
            axis.set_xlabel("feature")
            return
        places = np.linspace(0, count - 1, 8).round().astype(int)
        axis.set_xticks(places, [_short(test.feature_name(place)) for place in places])
    elif test.feature_names is None:
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("feature")
        return
    else:
        axis.set_xticks(np.arange(count), [_short(name) for name in test.feature_names])
    longest = max(len(label.get_text()) for label in axis.get_xticklabels())
    if longest * len(axis.get_xticks()) > _ROOM:
        axis.tick_params(axis="x", labelrotation=90, labelsize=8)
    axis.set_xlabel("feature")


_ROOM = 40
# From this share on, the scale is logarithmic.
_FAR_OFF = 10


def _short(name: str) -> str:
    return (
        name
        if len(name) <= _LONGEST_NAME
        else f"{name[: _LONGEST_NAME - 1]}\N{HORIZONTAL ELLIPSIS}"
    )
