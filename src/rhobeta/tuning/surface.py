"""The response surface: how each objective answers to the first two numbers that are searched."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from rhobeta.config.search import Dimension, TuneParams
from rhobeta.reporting.style import BLUE, GREY, INK, ORANGE, SEQUENTIAL
from rhobeta.tuning.pictures import axis_label
from rhobeta.tuning.results import Results, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FEWEST_TRIALS = 10
_GRID = 120
_LEVELS = 12
_WORST = 0.2
_FEW_DECADES = 2
# Of the unit square that the two parameters span: farther from any trial nothing is claimed.
_REACH = 0.2
# Trials differ by more than these two parameters, so that the fit need not pass through them.
_SMOOTHINGS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_FOLDS = 5


def draw_surface(results: Results, tune: TuneParams) -> "Figure | None":
    """One panel an objective over the first two searched numbers, log where the search is.

    The colour between the trials is a thin-plate spline, smoothed as much as foretells trials best
    that it has not seen; where no trial is near, nothing is drawn. With one searched number the
    objectives are drawn against it; with none there is no picture.
    """
    axes_of = {path: d for path, d in tune.space.items() if "choices" not in d}
    paths = list(axes_of)[:2]
    if not paths or not results.complete:
        return None
    names = list(results.objectives)
    figure, axes = plt.subplots(
        1, len(names), figsize=(max(6.0, 5.0 * len(names)), 4.4), squeeze=False
    )
    for axis, name in zip(axes[0], names, strict=True):
        if len(paths) == 2:
            _draw_plane(axis, results, name, paths, axes_of)
        else:
            _draw_line(axis, results, name, paths[0])
        for path, side in zip(paths, ("x", "y"), strict=False):
            _scale(axis, side, axes_of[path])
        title = axis_label(name, results.objectives[name])
        axis.set_title(title[0].upper() + title[1:], fontsize=10)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _draw_plane(
    axis: "Axes",
    results: Results,
    name: str,
    paths: list[str],
    dimensions: dict[str, Dimension],
) -> None:
    rows = results.complete
    points = np.column_stack([_unit(rows, path, dimensions[path]) for path in paths])
    values = np.array([row.measures[name] for row in rows])
    least, most = _colour_range(values, results.objectives[name])
    grid = _surface(points, values)
    if grid is not None:
        x, y = (_ends(dimensions[path]) for path in paths)
        levels = np.linspace(least, most, _LEVELS + 1)
        # The trials' own range: between them the spline may swing beyond.
        bounded = grid.clip(values.min(), values.max())
        axis.contourf(x, y, bounded, levels=levels, cmap=SEQUENTIAL, alpha=0.85, extend="both")
    kept = [row for row in rows if row.keeps_bounds]
    broken = [row for row in rows if not row.keeps_bounds]
    painted = axis.scatter(
        [row.values[paths[0]] for row in kept],
        [row.values[paths[1]] for row in kept],
        c=[row.measures[name] for row in kept],
        cmap=SEQUENTIAL,
        vmin=least,
        vmax=most,
        s=26,
        edgecolors="white",
        linewidths=0.7,
        label="a trial",
        zorder=3,
    )
    if broken:
        axis.scatter(
            [row.values[paths[0]] for row in broken],
            [row.values[paths[1]] for row in broken],
            marker="x",
            s=26,
            linewidths=1.2,
            color=GREY,
            label="breaks a constraint",
            zorder=3,
        )
    _mark_chosen(axis, results, paths[0], lambda row: row.values[paths[1]])
    worse = "max" if results.objectives[name] == "minimize" else "min"
    bar = axis.figure.colorbar(painted, ax=axis, extend=worse)
    bar.outline.set_visible(False)
    axis.set(xlabel=paths[0], ylabel=paths[1])
    axis.grid(visible=False)


def _colour_range(values: NDArray[np.float64], direction: str) -> tuple[float, float]:
    """From the best value on; the worst fifth shares one colour, so that the good ones differ."""
    least, most = float(values.min()), float(values.max())
    if direction == "minimize":
        most = float(np.quantile(values, 1 - _WORST))
    else:
        least = float(np.quantile(values, _WORST))
    return (least, most) if most > least else (least, least + 1e-12)


def _draw_line(axis: "Axes", results: Results, name: str, path: str) -> None:
    for kept, colour, marker, label in (
        (True, BLUE, "o", "a trial"),
        (False, GREY, "x", "breaks a constraint"),
    ):
        rows = [row for row in results.complete if row.keeps_bounds is kept]
        axis.plot(
            [row.values[path] for row in rows],
            [row.measures[name] for row in rows],
            marker,
            color=colour,
            ms=5,
            label=label,
        )
    _mark_chosen(axis, results, path, lambda row: row.measures[name])
    axis.set(xlabel=path, ylabel=name)


def _mark_chosen(axis: "Axes", results: Results, path: str, height: Any) -> None:
    if results.chosen is None:
        return
    row = results.row(results.chosen)
    axis.plot(
        row.values[path], height(row), "*", ms=17, color=ORANGE, mec=INK, mew=0.9, ls="none",
        label=f"chosen: trial {row.number}", zorder=5,
    )  # fmt: skip


def _surface(points: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[Any] | None:
    """A smooth surface over the unit square; masked where no point is near."""
    from scipy.interpolate import RBFInterpolator
    from scipy.spatial import cKDTree

    places, first = np.unique(points, axis=0, return_index=True)
    if len(places) < _FEWEST_TRIALS:
        return None
    side = np.linspace(0, 1, _GRID)
    wanted = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    try:
        smoothing = _best_smoothing(places, values[first])
        fitted = RBFInterpolator(places, values[first], smoothing=smoothing)(wanted)
    except np.linalg.LinAlgError:
        # All trials on one line.
        return None
    far = cKDTree(places).query(wanted)[0] > _REACH
    surface: NDArray[Any] = np.ma.masked_array(fitted, far).reshape(_GRID, _GRID)
    return surface


def _best_smoothing(places: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """The smoothing that foretells trials best that the fit has not seen (five-fold)."""
    from scipy.interpolate import RBFInterpolator

    fold = np.arange(len(places)) % _FOLDS
    errors = []
    for smoothing in _SMOOTHINGS:
        error = 0.0
        for left_out in range(_FOLDS):
            seen = fold != left_out
            fitted = RBFInterpolator(places[seen], values[seen], smoothing=smoothing)
            error += float(np.square(fitted(places[~seen]) - values[~seen]).sum())
        errors.append(error)
    return _SMOOTHINGS[int(np.argmin(errors))]


def _unit(rows: list[Row], path: str, dimension: Dimension) -> NDArray[np.float64]:
    values = np.array([float(row.values[path]) for row in rows])
    low, high = float(dimension["low"]), float(dimension["high"])
    if dimension.get("log", False):
        values, low, high = np.log(values), np.log(low), np.log(high)
    unit: NDArray[np.float64] = (values - low) / (high - low)
    return unit


def _ends(dimension: Dimension) -> NDArray[np.float64]:
    low, high = float(dimension["low"]), float(dimension["high"])
    spaced = np.geomspace if dimension.get("log", False) else np.linspace
    values: NDArray[np.float64] = spaced(low, high, _GRID)
    return values


def _scale(axis: "Axes", side: str, dimension: Dimension) -> None:
    which = axis.xaxis if side == "x" else axis.yaxis
    if dimension.get("log", False):
        (axis.set_xscale if side == "x" else axis.set_yscale)("log")
        decades = np.log10(float(dimension["high"]) / float(dimension["low"]))
        which.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < _FEW_DECADES else (1,)))
        which.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        which.set_minor_formatter(NullFormatter())
    limits = (float(dimension["low"]), float(dimension["high"]))
    (axis.set_xlim if side == "x" else axis.set_ylim)(*limits)
