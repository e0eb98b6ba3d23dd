"""Pictures of a study: the front with its noise, what matters, and how it went."""

from itertools import combinations
from math import isfinite
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rhobeta.config.search import METRICS, TuneParams
from rhobeta.reporting.style import BLUE, GREEN, GREY, INK, ORANGE, RED
from rhobeta.tuning.choice import Candidate, front_of
from rhobeta.tuning.results import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN)
_PANEL = (5.2, 4.3)


def draw_front(results: Results, tune: TuneParams) -> "Figure | None":
    """Each pair of objectives against each other: all trials, the front, the chosen one.

    Trials on the front that were trained with further seeds are drawn at their means too, with
    95 % intervals. A study of one objective has no front.
    """
    names = list(results.objectives)
    if len(names) < 2 or not results.complete:
        return None
    pairs = list(combinations(names, 2))
    figure, axes = plt.subplots(
        1, len(pairs), figsize=(max(7.2, _PANEL[0] * len(pairs)), _PANEL[1]), squeeze=False
    )
    for axis, pair in zip(axes[0], pairs, strict=True):
        _draw_pair(axis, results, pair)
    axes[0][0].set_title("The front" + (", pair by pair" if len(pairs) > 1 else ""))
    handles, labels = axes[0][0].get_legend_handles_labels()
    if len(pairs) == 1:
        axes[0][0].legend(handles, labels, loc="best")
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def draw_importance(importances: dict[str, dict[str, float]]) -> "Figure | None":
    """How much each parameter matters for each objective, as shares of one."""
    if not importances:
        return None
    paths = sorted(
        {path for shares in importances.values() for path in shares},
        key=lambda path: sum(shares.get(path, 0) for shares in importances.values()),
    )
    height = 0.8 / len(importances)
    figure, axis = plt.subplots(figsize=(6.5, 1.6 + 0.4 * len(paths) * len(importances)))
    for index, (name, shares) in enumerate(importances.items()):
        places = [row + 0.4 - height * (index + 0.5) for row in range(len(paths))]
        lengths = [shares.get(path, 0) for path in paths]
        bars = axis.barh(places, lengths, height * 0.9, color=COLOURS[index], label=name)
        axis.bar_label(bars, fmt="{:.0%}", padding=3)
    axis.set_yticks(range(len(paths)), paths)
    axis.xaxis.set_major_formatter(PercentFormatter(1))
    axis.set(
        title="What matters for a good trial",
        xlabel="share of the importance for an objective (PED-ANOVA)",
        xlim=(0, 1.12),
    )
    axis.grid(visible=False, axis="y")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=3)
    return figure


def draw_history(results: Results, tune: TuneParams) -> "Figure | None":
    """Each objective by trial: those that keep all constraints, those that do not, the best so far.

    The shaded trials were drawn at random, before the sampler had learned anything.
    """
    if not results.complete:
        return None
    names = list(results.objectives)
    figure, axes = plt.subplots(
        len(names), 1, figsize=(7.2, 1.2 + 2.1 * len(names)), sharex=True, squeeze=False
    )
    for axis, name in zip(axes[:, 0], names, strict=True):
        _draw_course(axis, results, name)
        last = max(row.number for row in results.rows)
        axis.axvspan(-0.5, min(tune.startup_trials, last + 1) - 0.5, color="#F1F1F1", zorder=0)
        axis.set_ylabel(name)
        axis.set_xlim(-0.5, last + 0.5)
        axis.margins(y=0.12)
    axes[0, 0].set_title("The course of the search")
    axes[-1, 0].set_xlabel("trial (shaded: drawn at random)")
    axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def axis_label(name: str, direction: str | None = None) -> str:
    """What is drawn along an axis, and which way is better."""
    better = {"minimize": " (less is better)", "maximize": " (more is better)", None: ""}
    return f"{METRICS[name]}{better[direction]}"


def _draw_pair(axis: "Axes", results: Results, pair: tuple[str, str]) -> None:
    first, second = pair
    front = {candidate.number for candidate in results.front}
    kept = [r.measures for r in results.complete if r.keeps_bounds and r.number not in front]
    broken = [r.measures for r in results.complete if not r.keeps_bounds]
    if broken:
        axis.scatter(
            [m[first] for m in broken],
            [m[second] for m in broken],
            marker="x",
            s=24,
            linewidths=1,
            color=GREY,
            label=f"breaks a constraint ({len(broken)})",
            zorder=2,
        )
    axis.scatter(
        [m[first] for m in kept],
        [m[second] for m in kept],
        s=18,
        color=BLUE,
        alpha=0.35,
        edgecolors="none",
        label=f"behind the front ({len(kept)})",
        zorder=2,
    )
    if results.front:
        _draw_staircase(axis, results, pair)
        axis.scatter(
            [c.measures[first] for c in results.front],
            [c.measures[second] for c in results.front],
            s=30,
            color=BLUE,
            edgecolors="white",
            linewidths=0.6,
            label=f"on the front ({len(results.front)})",
            zorder=4,
        )
    _draw_means(axis, results, pair)
    if results.chosen is not None:
        measures = results.row(results.chosen).measures
        over = results.repeated.get(results.chosen) if results.by_means else None
        x, y = (over[n].mean if over else measures[n] for n in pair)
        axis.plot(
            x, y, "*", ms=17, color=ORANGE, mec=INK, mew=0.9, ls="none", zorder=6,
            label=f"chosen: trial {results.chosen}",
        )  # fmt: skip
    _look_at_the_front(axis, results, pair)
    axis.set(
        xlabel=axis_label(first, results.objectives[first]),
        ylabel=axis_label(second, results.objectives[second]),
    )


def _draw_staircase(axis: "Axes", results: Results, pair: tuple[str, str]) -> None:
    # Of three objectives the projection of the front is no staircase, but its own front is.
    objectives = {name: results.objectives[name] for name in pair}
    points = [
        (c.measures[pair[0]], c.measures[pair[1]]) for c in front_of(results.front, objectives)
    ]
    axis.step(
        [x for x, _ in points],
        [y for _, y in points],
        where="post",
        color=BLUE,
        linewidth=1,
        alpha=0.6,
        zorder=3,
    )


def _draw_means(axis: "Axes", results: Results, pair: tuple[str, str]) -> None:
    if not results.repeated:
        return
    means = [(over[pair[0]], over[pair[1]]) for over in results.repeated.values()]
    axis.errorbar(
        [x.mean for x, _ in means],
        [y.mean for _, y in means],
        xerr=[x.half for x, _ in means],
        yerr=[y.half for _, y in means],
        fmt="D",
        markersize=4,
        color=RED,
        ecolor=RED,
        elinewidth=1.1,
        capsize=2.5,
        label=f"mean of {results.seeds} further seeds, 95 % interval",
        zorder=5,
    )


def _look_at_the_front(axis: "Axes", results: Results, pair: tuple[str, str]) -> None:
    """Leave far outliers outside, so that the front is not squeezed into a corner."""
    for side, name in zip("xy", pair, strict=True):
        front = [candidate.measures[name] for candidate in results.front]
        for over in results.repeated.values():
            if isfinite(over[name].half):
                front += [over[name].mean - over[name].half, over[name].mean + over[name].half]
        values = [row.measures[name] for row in results.complete] + front
        if len(results.front) < 3 or len(results.complete) < 10:
            continue
        span = max(front) - min(front)
        low, high = max(min(values), min(front) - span / 3), min(max(values), max(front) + span / 3)
        room = 0.05 * (high - low)
        if room > 0:
            axis.set(**{f"{side}lim": (low - room, high + room)})


def _draw_course(axis: "Axes", results: Results, name: str) -> None:
    kept = [row for row in results.complete if row.keeps_bounds]
    broken = [row for row in results.complete if not row.keeps_bounds]
    if broken:
        axis.scatter(
            [r.number for r in broken], [r.measures[name] for r in broken],
            marker="x", s=20, linewidths=1, color=GREY, label="breaks a constraint",
        )  # fmt: skip
    axis.scatter(
        [r.number for r in kept], [r.measures[name] for r in kept],
        s=16, color=BLUE, alpha=0.7, edgecolors="none", label="keeps the constraints",
    )  # fmt: skip
    ended = [row.number for row in results.rows if row.state in ("pruned", "failed")]
    if ended:
        low = min(row.measures[name] for row in results.complete)
        axis.scatter(ended, [low] * len(ended), marker="|", s=40, color=RED, label="pruned, failed")
    best: list[Candidate] = []
    course: list[tuple[int, float]] = []
    for row in kept:
        only = {name: results.objectives[name]}
        best = front_of([*best, Candidate(row.number, row.measures)], only)[:1]
        course.append((row.number, best[0].measures[name]))
    axis.step(
        [n for n, _ in course], [v for _, v in course],
        where="post", color=INK, linewidth=1.2, label="best so far",
    )  # fmt: skip
    if results.chosen is not None:
        value = results.row(results.chosen).measures[name]
        axis.plot(
            results.chosen, value, "*", ms=14, color=ORANGE, mec=INK, mew=0.9, ls="none",
            label="chosen", zorder=5,
        )  # fmt: skip
