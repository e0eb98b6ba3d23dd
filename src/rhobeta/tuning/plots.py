"""Optuna's plots of a study in the project's style, with a star on the chosen trial."""

import warnings
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import optuna
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from optuna.exceptions import ExperimentalWarning
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.visualization import matplotlib as optuna_plots

from rhobeta.config.search import METRICS, TuneParams
from rhobeta.reporting.hover import POINT_TEXTS
from rhobeta.reporting.style import GREY, INK, ORANGE
from rhobeta.tuning.space import stored_choice
from rhobeta.tuning.study_results import StudyResults

_FEWEST_TRIALS = 4
_SIZE = (7.2, 4.6)
_GRID = "#E4E4E4"


def plot_study(study: Study, results: StudyResults, tune: TuneParams) -> dict[str, Figure]:
    """The front, contours, histories and importances, by file name without its ending.

    There is a front for each pair of objectives, and the other plots for each objective. Contours
    are over the first two searched parameters, if there are two. A study with fewer than four
    complete trials has no plots.
    """
    if len(results.complete) < _FEWEST_TRIALS:
        return {}
    if results.invalid:
        study = _complete_alone(study, results)
    figures = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", message="PedAnovaImportanceEvaluator computes")
        for pair in combinations(results.objectives, 2):
            name = "front" if len(results.objectives) == 2 else f"front_{'_'.join(pair)}"
            figures[name] = _plot_front(study, results, pair)
        for index, name in enumerate(results.objectives):
            if len(tune.space) > 1:
                figures[f"contour_{name}"] = _plot_contour(study, results, tune, index)
            figures[f"history_{name}"] = _plot_history(study, results, index)
            figures[f"importance_{name}"] = _plot_importance(study, results, index)
    return figures


def axis_label(name: str, direction: str) -> str:
    """What an axis shows, and which way is better."""
    return f"{METRICS[name]} ({'less' if direction == 'minimize' else 'more'} is better)"


def _plot_front(study: Study, results: StudyResults, pair: tuple[str, str]) -> Figure:
    """All trials, the front, the chosen trial; means with 95 % intervals where seeds were asked."""
    first, second = (list(results.objectives).index(name) for name in pair)
    axes = optuna_plots.plot_pareto_front(
        study,
        targets=lambda trial: (trial.values[first], trial.values[second]),
        target_names=[axis_label(name, results.objectives[name]) for name in pair],
    )
    _name_trials(axes, results, pair)
    if results.repeated:
        x, y = ([over[name] for over in results.repeated.values()] for name in pair)
        axes.errorbar(
            [interval.mean for interval in x],
            [interval.mean for interval in y],
            xerr=[interval.half for interval in x],
            yerr=[interval.half for interval in y],
            fmt="D",
            markersize=4,
            color=INK,
            ecolor=GREY,
            capsize=2.5,
            label=f"mean of {x[0].seeds} further seeds, 95 % interval",
        )
    if results.chosen is not None:
        means_of, row = results.repeated.get(results.chosen), results.row(results.chosen)
        place = [means_of[n].mean if means_of else row.measures[n] for n in pair]
        star = _mark(axes, results, *place)
        # The page adds the second of the pair.
        words = _in_words({**row.values, pair[0]: place[0]})
        setattr(star, POINT_TEXTS, [f"{words}, {pair[1]}"])
    axes.legend()
    return _styled(axes, "Pareto front of the study")


def _name_trials(axes: Axes, results: StudyResults, pair: tuple[str, str]) -> None:
    """Give each point of the front what a page shows under the pointer."""
    texts = {}
    for row in results.complete:
        words = _in_words({**row.measures, **row.values})
        texts[tuple(row.measures[name] for name in pair)] = f"trial {row.number}: {words}"
    for points in axes.collections:
        if isinstance(points, PathCollection):
            places = map(tuple, np.asarray(points.get_offsets()).tolist())
            setattr(points, POINT_TEXTS, [texts.get(place, "") for place in places])


def _in_words(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    )


def _plot_contour(study: Study, results: StudyResults, tune: TuneParams, index: int) -> Figure:
    name = list(results.objectives)[index]
    axes = optuna_plots.plot_contour(
        study,
        params=list(tune.space)[:2],
        target=_value(index),
        target_name=axis_label(name, results.objectives[name]),
    )
    # Optuna returns an array of axes only for more than two parameters.
    assert isinstance(axes, Axes)  # noqa: S101
    if results.chosen is not None:
        values = results.row(results.chosen).values
        place = (stored_choice(values[path]) for path in (axes.get_xlabel(), axes.get_ylabel()))
        _mark(axes, results, *place)
    # Outside: every corner may hold trials.
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
    return _styled(axes, "", grid=False)


def _plot_history(study: Study, results: StudyResults, index: int) -> Figure:
    name = list(results.objectives)[index]
    single = len(results.objectives) == 1
    axes = optuna_plots.plot_optimization_history(
        study, target=None if single else _value(index), target_name=name
    )
    if results.chosen is not None:
        _mark(axes, results, results.chosen, results.row(results.chosen).measures[name])
    axes.set_ylabel(axis_label(name, results.objectives[name]))
    axes.legend(loc="best")
    return _styled(axes, "History of the search")


def _plot_importance(study: Study, results: StudyResults, index: int) -> Figure:
    name, direction = list(results.objectives.items())[index]
    # PED-ANOVA asks what makes the target low, whatever the direction of the study.
    axes = optuna_plots.plot_param_importances(
        study, target=_value(index, -1 if direction == "maximize" else 1), target_name=name
    )
    axes.set(xlabel=f"share of the importance for the best {name} (PED-ANOVA)", ylabel="")
    axes.legend().remove()
    return _styled(axes, "Importance of the searched parameters")


def _complete_alone(study: Study, results: StudyResults) -> Study:
    """A copy in memory with the complete trials: what an invalid one holds may not be drawable."""
    complete = {row.number for row in results.complete}
    copy = optuna.create_study(directions=study.directions)
    trials = study.get_trials(deepcopy=False)
    copy.add_trials([trial for trial in trials if trial.number in complete])
    return copy


def _value(index: int, sign: int = 1) -> Callable[[FrozenTrial], float]:
    return lambda trial: sign * float(trial.values[index])


def _mark(axes: Axes, results: StudyResults, *place: Any) -> Line2D:
    """Put a star on the chosen trial."""
    (star,) = axes.plot(
        *([coordinate] for coordinate in place),
        "*",
        markersize=17,
        color=ORANGE,
        markeredgecolor=INK,
        markeredgewidth=0.9,
        linestyle="none",
        zorder=6,
        label=f"chosen: trial {results.chosen}",
    )
    return star


def _styled(axes: Axes, title: str, *, grid: bool = True) -> Figure:
    """Undo the style sheet that Optuna's plots set for themselves."""
    axes.set_title(title, fontsize=11)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=10)
    axes.set_facecolor("white")
    axes.tick_params(colors=INK)
    axes.spines[["left", "bottom"]].set(visible=True, color=GREY)
    axes.grid(visible=False)
    if grid:
        axes.grid(visible=True, color=_GRID)
    figure = axes.get_figure(root=True)
    if figure is None:
        raise TypeError("Optuna's plot has no figure.")
    figure.set_size_inches(*_SIZE)
    return figure
