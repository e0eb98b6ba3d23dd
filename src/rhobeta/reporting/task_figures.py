"""Figures of what the code is good for: one for each use that was scored."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator, PercentFormatter

from rhobeta.reporting.rate_distortion import Curves, draw_rate_distortion
from rhobeta.reporting.style import BLUE, GREEN, GREY, IN_WORDS, INK, ORANGE
from rhobeta.reporting.task_rows import Metrics, by_setting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CODERS = {
    "code": ("code", BLUE, "o"),
    "pca": ("PCA", ORANGE, "s"),
    "pixels": ("pixels", GREY, "^"),
}
_DENOISERS = {
    "code": ("code", BLUE, "o"),
    "wiener": ("Wiener filter", GREEN, "s"),
    "noisy": ("noisy image", GREY, "^"),
}


def draw_tasks(metrics: Metrics, curves: Curves, *, units: int, pixels: int) -> "dict[str, Figure]":
    """The figures, by name, of the uses that are in the metrics.

    `curves` are those of rate and distortion; `units` and `pixels` the sizes of code and image.
    """
    figures = {}
    if "sparse_probe" in metrics:
        figures["sparse_probe"] = draw_sparse_probe(
            metrics["sparse_probe"], metrics["probe"], units=units, pixels=pixels
        )
    if "few_labels" in metrics:
        figures["few_labels"] = draw_few_labels(metrics["few_labels"])
    if "denoising" in metrics:
        figures["denoising"] = draw_denoising(metrics["denoising"], metrics["test"]["psnr_db"])
    if "anomaly" in metrics:
        figures["anomaly"] = draw_anomaly(metrics["anomaly"])
    if "compression" in metrics:
        figures["rate_distortion"] = draw_rate_distortion(curves, metrics["compression"])
    return figures


def draw_sparse_probe(
    section: Mapping[str, float], probe: Mapping[str, float], *, units: int, pixels: int
) -> "Figure":
    """Accuracy against the number of units a class, and at the right end that of all."""
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    whole = {"code": "code_accuracy", "pca": "pca_accuracy", "pixels": "pixel_accuracy"}
    counts = [int(count) for count in by_setting(section, "code")]
    end = counts[-1] * max(3.0, (counts[-1] / counts[0]) ** 0.35)
    ends = []
    for coder, (label, colour, marker) in _CODERS.items():
        values = list(by_setting(section, coder).values())
        last = probe[whole[coder]]
        axis.plot(counts, values, color=colour, marker=marker)
        axis.plot([counts[-1], end], [values[-1], last], color=colour, marker=marker, ls=":")
        ends.append((f"{label} {last:.1%}", last, colour))
    _mark_counts(axis, counts, {end: f"all: {units:,}\n({pixels:,} pixels)"})
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set(
        title="Accuracy of a classifier that sees few numbers a class",
        xlabel="units, components or pixels that tell a class from the rest (log)",
        ylabel="test accuracy",
    )
    _name_ends(axis, ends)
    return figure


def draw_few_labels(section: Mapping[str, float]) -> "Figure":
    """Accuracy against the number of labelled images of each class."""
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    ends = _draw_lines(axis, section, _CODERS, "{:.1%}")
    _mark_counts(axis, [int(count) for count in by_setting(section, "code")], {})
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set(
        title="Accuracy of a classifier that learns from few labels",
        xlabel="labelled training images of each class (log)",
        ylabel="test accuracy",
    )
    _name_ends(axis, ends)
    return figure


def draw_denoising(section: Mapping[str, float], without_noise: float) -> "Figure":
    """PSNR by noise, with a line at the model's PSNR of clean images (in dB)."""
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    ends = _draw_lines(axis, section, _DENOISERS, "{:.1f} dB")
    axis.axhline(without_noise, color=BLUE, linestyle=":", linewidth=1.2)
    levels = list(by_setting(section, "code"))
    axis.set_xticks([float(level) for level in levels], levels)
    axis.set(
        title="Quality of noisy images after a pass through the code",
        xlabel="standard deviation of the noise (white is 1)",
        ylabel="PSNR (dB), higher is better",
    )
    _name_ends(axis, [*ends, (f"code, clean images {without_noise:.1f} dB", without_noise, BLUE)])
    return figure


def draw_anomaly(section: Mapping[str, float]) -> "Figure":
    """AUROC for each choice of normal classes, code beside PCA, and their means."""
    code, pca = by_setting(section, "code_auroc"), by_setting(section, "pca_auroc")
    places = np.arange(len(code))
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    axis.vlines(places, list(code.values()), list(pca.values()), color="#C9C9C9", linewidth=3)
    ends = []
    for name, values in (("pca", pca), ("code", code)):
        label, colour, marker = _CODERS[name]
        mean = section[f"{name}_auroc"]
        axis.plot(places, list(values.values()), color=colour, marker=marker, ls="", ms=8)
        axis.axhline(mean, color=colour, linestyle="--", linewidth=1.2)
        ends.append((f"{label}, {'mean ' if len(code) > 1 else ''}{mean:.3f}", mean, colour))
    axis.set_xticks(places, [name.replace("_", " and ") for name in code])
    axis.set_xlim(-0.6, len(code) - 0.4)
    axis.grid(visible=False, axis="x")
    axis.set(
        title="How well unknown classes stand out from what is known",
        xlabel="the class that is known, all others being unknown"
        if all("_" not in name for name in code)
        else "the classes that are known, all others being unknown",
        ylabel="AUROC (0.5 is chance)",
    )
    _name_ends(axis, ends)
    return figure


def _draw_lines(
    axis: "Axes", section: Mapping[str, float], lines: Mapping[str, tuple[str, str, str]], form: str
) -> list[tuple[str, float, str]]:
    """Draw each line of a section by its settings; returns the names for their ends."""
    ends = []
    for key, (label, colour, marker) in lines.items():
        by = by_setting(section, key)
        values = list(by.values())
        axis.plot([float(at) for at in by], values, color=colour, marker=marker)
        ends.append((f"{label} {form.format(values[-1])}", values[-1], colour))
    return ends


def _mark_counts(axis: "Axes", counts: Sequence[int], more: Mapping[float, str]) -> None:
    axis.set_xscale("log")
    # A count that stands too close to the one before it has no room for its number.
    nearest = 1.0
    if len(counts) > 1:
        nearest = (max(*counts, *more) / counts[0]) ** 0.06
    marked = counts[:1]
    for count in counts[1:]:
        if count / marked[-1] >= nearest:
            marked = [*marked, count]
    names = [f"{count:,}" for count in marked]
    axis.set_xticks([*marked, *more], [*names, *more.values()])
    axis.xaxis.set_minor_locator(NullLocator())


def _name_ends(axis: "Axes", ends: Sequence[tuple[str, float, str]]) -> None:
    """Write names right of the axis, as high as their values, moved apart where they would meet."""
    low, high = axis.get_ylim()
    heights = [(value - low) / (high - low) for _, value, _ in ends]
    for (name, _, colour), height in zip(ends, spread(heights, gap=0.085), strict=True):
        axis.annotate(
            name,
            (1.01, height),
            xycoords="axes fraction",
            va="center",
            color=IN_WORDS.get(colour, INK),
            fontweight="bold",
            annotation_clip=False,
        )


def spread(heights: Sequence[float], *, gap: float) -> list[float]:
    """Heights moved as little as it takes to lie at least `gap` apart, in the same order."""
    order = np.argsort(heights, kind="stable")
    # Pool neighbours that would meet about their common middle, until none do.
    groups: list[list[Any]] = []
    for height in np.asarray(heights, dtype=float)[order]:
        groups.append([height, 1])
        while len(groups) > 1 and _meet(groups[-2], groups[-1], gap):
            (middle, count), (other, more) = groups[-2:]
            groups[-2:] = [[(middle * count + other * more) / (count + more), count + more]]
    placed = [
        middle + (index - (count - 1) / 2) * gap
        for middle, count in groups
        for index in range(count)
    ]
    moved = np.empty(len(placed))
    moved[order] = placed
    return [float(height) for height in moved]


def _meet(lower: Sequence[float], upper: Sequence[float], gap: float) -> bool:
    return upper[0] - lower[0] < gap * (lower[1] + upper[1]) / 2 - 1e-12
