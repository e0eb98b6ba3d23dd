"""Figures of the code: how active units are, and where samples lie in its space."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from numpy.typing import NDArray

from rhobeta.reporting.hover import POINT_TEXTS
from rhobeta.reporting.style import BLUE, CLASS_COLOURS, GREY, ORANGE, RED, SEQUENTIAL
from rhobeta.reporting.words import IMAGES, SampleWords, TestSamples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In inches: the highest picture of mean codes, and a line of its names.
_HIGHEST, _LINE = 7.5, 0.16
# Above this number, the names of classes are small in the embedding.
_FEW_CLASSES = 20
# Characters of a name that fits a circle.
_SHORT = 3
# Of points without a group.
_OTHERS = "#C9C9C9"


def draw_unit_activity(
    activity: NDArray[np.float32], rho: float | None, words: SampleWords = IMAGES
) -> "Figure":
    """Mean activity of each unit, sorted, with a line at rho ([samples, units])."""
    means = np.sort(activity.mean(0, dtype=np.float64), kind="stable")[::-1]
    figure, axis = plt.subplots(figsize=(7, 3.4))
    axis.bar(np.arange(1, len(means) + 1), means, width=1.0, color=BLUE, edgecolor="white")
    if rho is not None:
        axis.axhline(rho, color=RED, linestyle="--", label=f"target rho = {rho:g}")
    overall = means.mean()
    axis.axhline(overall, color=ORANGE, label=f"mean of all units = {overall:.3f}")
    axis.legend(loc="upper right", ncols=2)
    axis.grid(visible=False, axis="x")
    axis.set(
        title=f"Mean activation of each unit on the test {words.many}",
        xlabel="unit, most active first",
        ylabel="mean activation",
        xlim=(0, len(means) + 1),
        ylim=(0, 1.25 * max(means[0], rho or 0) or 1),
    )
    return figure


def draw_activity_distribution(
    activity: NDArray[np.float32],
    l0_counts: NDArray[np.int64],
    threshold: float,
    words: SampleWords = IMAGES,
) -> "Figure":
    """Histogram of all activations, and of active units per sample."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4))
    top = max(1.0, float(activity.max()))
    shares, edges = np.histogram(activity, bins=50, range=(0, top))
    left.stairs(shares / activity.size, edges, fill=True, color=BLUE)
    left.axvline(threshold, color=RED, linestyle="--", label=f"active above {threshold:g}")
    left.set_yscale("log")
    left.legend()
    left.set(title="Activations", xlabel="activation", ylabel="share of all activations (log)")
    mean = (l0_counts * np.arange(len(l0_counts))).sum() / l0_counts.sum()
    last = int(np.flatnonzero(l0_counts).max()) + 2
    right.bar(np.arange(len(l0_counts)), l0_counts, width=1.0, color=BLUE, edgecolor="white")
    right.axvline(mean, color=ORANGE, label=f"mean = {mean:.1f} of {activity.shape[1]}")
    right.legend()
    right.grid(visible=False, axis="x")
    right.set(
        title=f"Units active above {threshold:g} per {words.one}",
        xlabel="active units",
        ylabel=f"test {words.many}",
        xlim=(-1, last),
        ylim=(0, 1.25 * l0_counts.max()),
    )
    right.locator_params(integer=True)
    return figure


def draw_firing_rates(
    activity: NDArray[np.float32], threshold: float, words: SampleWords = IMAGES
) -> "Figure":
    """Histogram of log10 of the units' firing rates, with a bar of its own for rate 0.

    The firing rate is the share of samples for which a unit's activity ([samples, units]) is above
    `threshold`.
    """
    rates = (activity > threshold).mean(0, dtype=np.float64)
    least = -math.ceil(math.log10(len(activity)))
    counts, edges = np.histogram(np.log10(rates[rates > 0]), np.arange(4 * least, 1) / 4)
    never = int((rates == 0).sum())
    figure, axis = plt.subplots(figsize=(7, 3.4))
    axis.stairs(counts, edges, fill=True, color=BLUE)
    axis.bar(least - 0.5, never, width=0.25, color=RED, label=f"never active: {never}")
    axis.set_xticks([least - 0.5, *range(least, 1)], ["never", *map(str, range(least, 1))])
    axis.legend()
    axis.set(
        title=f"How often each unit is active above {threshold:g}",
        xlabel=f"log10 of the share of test {words.many}",
        ylabel=f"units (of {activity.shape[1]})",
    )
    axis.locator_params(axis="y", integer=True)
    return figure


def draw_class_code(
    activity: NDArray[np.float32], labels: NDArray[np.uint8], names: Sequence[str] | None = None
) -> "Figure":
    """Mean activity of each unit for each class, units grouped by the class they prefer.

    `names` are those of the labels from 0; None: their numbers.
    """
    classes = np.unique(labels)
    means = np.stack([activity[labels == label].mean(0, dtype=np.float64) for label in classes])
    favourite = means.argmax(0)
    order = np.lexsort((-means.max(0), favourite))
    height = min(0.3 * len(classes), _HIGHEST)
    figure, axis = plt.subplots(figsize=(9, height + 1.3))
    image = axis.imshow(means[:, order], aspect="auto", cmap=SEQUENTIAL, interpolation="nearest")
    # Where rows are too low for their names, every second or third is named.
    named = np.arange(0, len(classes), math.ceil(_LINE * len(classes) / height))
    axis.set_yticks(named, [_name(label, names) for label in classes[named].tolist()])
    axis.grid(visible=False)
    axis.set(
        title="Mean code of each class",
        xlabel="unit, grouped by the class that excites it most",
        ylabel="class",
    )
    bar = figure.colorbar(image, ax=axis, pad=0.01)
    bar.set_label("mean activation")
    bar.outline.set_visible(False)
    return figure


class PointGroups(NamedTuple):
    """The groups of the points of an embedding, which give them their colours."""

    numbers: NDArray[np.int64]
    """The group of each point; -1: none (shape: [points])."""
    names: dict[int, str]
    """The name of each group, in the order of their colours."""
    texts: list[str]
    """What is said of each point under the pointer."""
    meaning: str
    """What a group is, such as `class`."""
    order: NDArray[np.intp]
    """Points in the order in which they are drawn, group by group (shape: [points])."""


def point_groups(activity: NDArray[np.float32], test: TestSamples) -> PointGroups:
    """The classes of the first test samples ([samples, units]), or else their most active units.

    Of units, the ten that are the most active for most samples have a name and a colour.
    """
    count = len(activity)
    if test.labels is not None:
        numbers = test.labels[:count].astype(np.int64)
        names = {label: test.class_name(label) for label in np.unique(numbers).tolist()}
        texts = [f"class {names[number]}" for number in numbers.tolist()]
        meaning = "class"
    else:
        most_active = np.where(activity.max(1) > 0, activity.argmax(1), -1)
        units, counts = np.unique(most_active[most_active >= 0], return_counts=True)
        common = units[np.argsort(-counts, kind="stable")][: len(CLASS_COLOURS)]
        numbers = np.where(np.isin(most_active, common), most_active, -1)
        names = {unit: str(unit) for unit in common.tolist()}
        texts = ["no unit" if unit < 0 else f"most active unit {unit}" for unit in most_active]
        meaning = "unit"
    if not test.words.images:
        texts = [f"row {row}, {text}" for row, text in enumerate(texts)]
    return PointGroups(numbers, names, texts, meaning, np.argsort(numbers, kind="stable"))


def draw_embedding(
    points: NDArray[np.float64], groups: PointGroups, how: str, words: SampleWords = IMAGES
) -> "Figure":
    """Points ([samples, 2]) coloured by group, with the group's name at its median."""
    figure, axis = plt.subplots(figsize=(6.4, 5.6))
    few = len(groups.names) <= _FEW_CLASSES
    colours = {
        number: CLASS_COLOURS[index % len(CLASS_COLOURS)]
        for index, number in enumerate(groups.names)
    }
    for number in np.unique(groups.numbers).tolist():
        rows = np.flatnonzero(groups.numbers == number)
        chosen, colour = points[rows], colours.get(number, _OTHERS)
        scattered = axis.scatter(
            chosen[:, 0], chosen[:, 1], s=7, color=colour, alpha=0.75, linewidths=0
        )
        setattr(scattered, POINT_TEXTS, [groups.texts[row] for row in rows.tolist()])
        if number not in groups.names:
            continue
        name = groups.names[number]
        axis.annotate(
            name,
            tuple(np.median(chosen, axis=0)),
            ha="center",
            va="center",
            fontsize=13 if few and len(name) <= _SHORT else 7,
            fontweight="bold",
            bbox={
                "boxstyle": f"circle,pad={0.2 if few else 0.1}"
                if len(name) <= _SHORT
                else "round,pad=0.2",
                "fc": "white",
                "ec": colour,
                "alpha": 0.9,
            },
        )
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    axis.set_title(f"Codes of {len(points):,} test {words.many}, {how}")
    if groups.meaning == "class":
        colour_is_class = len(groups.names) <= len(CLASS_COLOURS)
        what = "each colour and number a class" if colour_is_class else "each number a class"
        if any(not name.isdecimal() for name in groups.names.values()):
            what = what.replace("number", "name")
    else:
        what = "each colour and number its most active unit"
        if (groups.numbers < 0).any():
            what += ", grey: another"
    article = "an" if words.images else "a"
    axis.set_xlabel(f"each point is {article} {words.one}, {what}", color=GREY)
    return figure


def embed(
    activity: NDArray[np.float32], how: Literal["tsne", "pca"], *, seed: int = 0
) -> NDArray[np.float64]:
    """Project codes ([samples, units]) to two dimensions ([samples, 2]).

    Identical codes all map to one point; the methods themselves fail on them.
    """
    centred = activity.astype(np.float64) - activity.mean(0, dtype=np.float64)
    spread = np.abs(centred).max()
    if spread == 0:
        return np.zeros((len(activity), 2))
    # Neither method depends on the scale, but squares of tiny activations would underflow.
    centred /= spread
    if centred.shape[1] == 1:
        centred = np.pad(centred, ((0, 0), (0, 1)))
    from sklearn.decomposition import PCA

    if how == "pca":
        pca = PCA(n_components=2, svd_solver="full")
        points: NDArray[np.float64] = pca.fit_transform(centred) * spread
        return points
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(centred) - 1) / 3)
    # One thread: the order of sums changes the picture. More steps take long and hardly move it.
    tsne = TSNE(init="pca", perplexity=perplexity, random_state=seed, n_jobs=1, max_iter=500)
    return np.asarray(tsne.fit_transform(centred.astype(np.float32)), dtype=np.float64)


def _name(label: int, names: Sequence[str] | None) -> str:
    return str(label) if names is None else names[label]
