"""Figures of the downstream tasks: one for each task that was scored."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.ticker import (
    FuncFormatter,
    LogLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from rhobeta.errors import RhobetaError
from rhobeta.metrics.downstream.tasks import by_setting
from rhobeta.reporting.style import BLUE, GREEN, GREY, IN_WORDS, INK, ORANGE, RED
from rhobeta.reporting.texts import Metrics, task_texts
from rhobeta.reporting.words import IMAGES, SampleWords, words_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Curves = dict[str, list[tuple[float, float]]]
"""Bits per sample and MSE of each coder, in rising order of bits."""

End = tuple[str, float, str]
"""A name, the height at which a line ends, and the line's colour."""

# Label, colour and marker of what is compared, by its name in the metrics.
_LOOKS = {
    "code": ("code", BLUE, "o"),
    "pca": ("PCA", ORANGE, "s"),
    "pixels": ("pixels", GREY, "^"),
    "wiener": ("Wiener filter", GREEN, "s"),
    "noisy": ("noisy image", GREY, "^"),
    "jpeg": ("JPEG", RED, "^"),
}
_CLASSIFIERS = ("code", "pca", "pixels")
_DENOISERS = ("code", "wiener", "noisy")
_CODERS = ("code", "pca", "jpeg")
_FEWEST_BITS = 3.0
_MOST_NAMES = 25


def draw_tasks(
    metrics: Metrics,
    curves: Curves,
    *,
    units: int,
    pixels: int,
    class_names: Sequence[str] | None = None,
) -> "dict[str, Figure]":
    """The figures of the tasks in the metrics, by name.

    `curves` are those of rate and distortion; `units` and `pixels` the sizes of code and sample.
    `class_names` are those of the labels from 0; None: their numbers.
    """
    words, figures = words_of(metrics), {}
    if "sparse_probe" in metrics:
        figures["sparse_probe"] = draw_sparse_probe(
            metrics["sparse_probe"], metrics, units=units, pixels=pixels
        )
    if "few_labels" in metrics:
        figures["few_labels"] = draw_few_labels(metrics["few_labels"], words)
    if "denoising" in metrics:
        figures["denoising"] = draw_denoising(metrics["denoising"], metrics["test"]["psnr_db"])
    if "anomaly" in metrics:
        figures["anomaly"] = draw_anomaly(metrics["anomaly"], class_names)
    if "compression" in metrics:
        figures["rate_distortion"] = draw_rate_distortion(curves, metrics["compression"], words)
    return figures


def draw_sparse_probe(
    section: Mapping[str, float], metrics: Metrics, *, units: int, pixels: int
) -> "Figure":
    """Accuracy by number of units a class; at the right end, the accuracy from all units."""
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    words, baselines = words_of(metrics), metrics["baselines"]
    whole = {
        "code": metrics["test"]["probe"],
        "pca": baselines["pca_probe"],
        "pixels": baselines["pixel_probe"],
    }
    counts = [int(count) for count in by_setting(section, "code")]
    end = counts[-1] * max(3.0, (counts[-1] / counts[0]) ** 0.35)
    ends = []
    for coder in _CLASSIFIERS:
        label, colour, marker = _looks(coder, words)
        values, last = list(by_setting(section, coder).values()), whole[coder]
        axis.plot(counts, values, color=colour, marker=marker, label=label)
        axis.plot([counts[-1], end], [values[-1], last], color=colour, marker=marker, ls=":")
        ends.append((f"{label} {last:.1%}", last, colour))
    _mark_counts(axis, counts, {end: f"all: {units:,}\n({pixels:,} {words.features})"})
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set(
        title="Accuracy of a classifier that sees few numbers a class",
        xlabel=f"units, components or {words.features} that tell a class from the rest (log)",
        ylabel="test accuracy",
    )
    _name_ends(axis, ends)
    return figure


def draw_few_labels(section: Mapping[str, float], words: SampleWords = IMAGES) -> "Figure":
    """Accuracy by number of labelled samples of each class."""
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    ends = _draw_lines(axis, section, _CLASSIFIERS, "{:.1%}", words)
    _mark_counts(axis, [int(count) for count in by_setting(section, "code")], {})
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    axis.set(
        title="Accuracy of a classifier that learns from few labels",
        xlabel=f"labelled training {words.many} of each class (log)",
        ylabel="test accuracy",
    )
    _name_ends(axis, ends)
    return figure


def draw_denoising(section: Mapping[str, float | None], without_noise: float | None) -> "Figure":
    """PSNR by noise, with a line at the model's PSNR of clean images (in dB).

    None is a PSNR without an error, and is not drawn.
    """
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    ends = _draw_lines(axis, section, _DENOISERS, "{:.1f} dB")
    if without_noise is not None:
        axis.axhline(without_noise, color=BLUE, linestyle=":", linewidth=1.2)
        ends.append((f"code, clean images {without_noise:.1f} dB", without_noise, BLUE))
    levels = list(by_setting(section, "code"))
    axis.set_xticks([float(level) for level in levels], levels)
    axis.set(
        title="Quality of noisy images after a pass through the code",
        xlabel="standard deviation of the noise (white is 1)",
        ylabel="PSNR (dB), higher is better",
    )
    _name_ends(axis, ends)
    return figure


def draw_anomaly(
    section: Mapping[str, float], class_names: Sequence[str] | None = None
) -> "Figure":
    """AUROC of code and PCA for each choice of normal classes, and their means."""
    code, pca = by_setting(section, "code_auroc"), by_setting(section, "pca_auroc")
    places = np.arange(len(code))
    figure, axis = plt.subplots(figsize=(7.5, 3.8))
    axis.vlines(places, list(code.values()), list(pca.values()), color="#C9C9C9", linewidth=3)
    ends = []
    size = 8 if len(code) <= _MOST_NAMES else 4
    for name, values in (("pca", pca), ("code", code)):
        label, colour, marker = _LOOKS[name]
        mean = section[f"{name}_auroc"]
        axis.plot(
            places, list(values.values()), color=colour, marker=marker, ls="", ms=size, label=label
        )
        axis.axhline(mean, color=colour, linestyle="--", linewidth=1.2)
        ends.append((f"{label}, {'mean ' if len(code) > 1 else ''}{mean:.3f}", mean, colour))
    # Of many classes, every second or later one is named.
    step = -(-len(code) // _MOST_NAMES)
    names = [_class_words(choice, class_names) for choice in code]
    axis.set_xticks(places[::step], names[::step])
    axis.set_xlim(-0.6, len(code) - 0.4)
    axis.grid(visible=False, axis="x")
    together = any("_" in name for name in code)
    known = "the classes that are known" if together else "the class that is known"
    axis.set(
        title="How well unknown classes stand out from what is known",
        xlabel=f"{known}, all others being unknown",
        ylabel="AUROC (0.5 is chance)",
    )
    _name_ends(axis, ends)
    return figure


def _class_words(choice: str, class_names: Sequence[str] | None) -> str:
    """The normal classes of a key such as `1_3` in words."""
    labels = choice.split("_")
    return " and ".join(
        labels if class_names is None else [class_names[int(label)] for label in labels]
    )


def draw_rate_distortion(
    curves: Curves, point: Mapping[str, Any], words: SampleWords = IMAGES
) -> "Figure":
    """MSE by bits per sample, and the bits of each coder at the code's operating point.

    `point` is the `compression` section of the metrics.
    """
    mse, show = point["mse"], task_texts(words)["compression"].show
    coders = [coder for coder in _CODERS if f"{coder}_bits" in point]
    figure, axis = plt.subplots(figsize=(7.5, 4.2))
    for coder in coders:
        label, colour, marker = _LOOKS[coder]
        bits = point[f"{coder}_bits"]
        rates = [rate for rate, _ in curves[coder]]
        errors = [error for _, error in curves[coder]]
        what = f"{label}: {show(bits)}"
        axis.plot(rates, errors, color=colour, marker=marker, markersize=4, label=what)
        if bits is not None:
            shape, size = ("*", 19) if coder == "code" else ("o", 10)
            axis.plot(bits, mse, marker=shape, color=colour, mec=INK, mew=1.3, ms=size, zorder=4)
    axis.axhline(mse, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    # JPEG reaches errors far below those of codes: show the range of the code and PCA.
    lowest = min(error for coder in ("code", "pca") for _, error in curves[coder]) / 3
    shown = [rate for curve in curves.values() for rate, error in curve if error >= lowest]
    axis.set_ylim(bottom=lowest)
    axis.set_xlim(_FEWEST_BITS, 1.3 * max(*shown, 2 * _FEWEST_BITS))
    axis.set_yscale("log")
    axis.set_xscale("log")
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(LogLocator(subs=(1, 2, 5)))
        side.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        side.set_minor_formatter(NullFormatter())
    axis.legend(
        title=f"at an MSE of {mse:{'.4f' if words.images else '.4g'}} (dotted)", loc="upper right"
    )
    axis.set(
        title="Error against size",
        xlabel=f"bits per test {words.one} (log)",
        ylabel="mean squared error (log)",
    )
    return figure


def read_curves(text: str, *, name: str) -> Curves:
    """Curves of the table of rate and distortion. Raises `RhobetaError` where it is not one."""
    curves: Curves = {coder: [] for coder in _CODERS}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            curves[row["coder"]].append((float(row["bits"]), float(row["mse"])))
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise RhobetaError(
            f"{name} is not a table of rate and distortion ({error}).\n"
            "Run `dvc repro --force evaluate` to write it again."
        ) from None
    return curves


def _draw_lines(
    axis: "Axes",
    section: Mapping[str, float | None],
    coders: Sequence[str],
    form: str,
    words: SampleWords = IMAGES,
) -> list[End]:
    """Draw a line by setting for each coder; returns the names for their ends."""
    ends = []
    for coder in coders:
        label, colour, marker = _looks(coder, words)
        by = by_setting(section, coder)
        values = np.array(list(by.values()), dtype=float)
        axis.plot([float(at) for at in by], values, color=colour, marker=marker, label=label)
        if np.isfinite(values[-1]):
            ends.append((f"{label} {form.format(values[-1])}", float(values[-1]), colour))
    return ends


def _looks(coder: str, words: SampleWords) -> tuple[str, str, str]:
    label, colour, marker = _LOOKS[coder]
    return words.features if coder == "pixels" else label, colour, marker


def _mark_counts(axis: "Axes", counts: Sequence[int], more: Mapping[float, str]) -> None:
    axis.set_xscale("log")
    # Counts too close to the one before are drawn without their number.
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


def _name_ends(axis: "Axes", ends: Sequence[End]) -> None:
    """Write names right of the axis at the heights of their values, moved apart where they meet."""
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
    """Heights moved as little as possible (least squares) to be `gap` apart, in the same order.

    >>> [round(height, 3) for height in spread([0.5, 0.5, 0.9], gap=0.1)]
    [0.45, 0.55, 0.9]
    """
    from sklearn.isotonic import isotonic_regression

    order = np.argsort(heights, kind="stable")
    gaps = gap * np.arange(len(order))
    moved = np.empty(len(order))
    moved[order] = isotonic_regression(np.asarray(heights, dtype=float)[order] - gaps) + gaps
    return [float(height) for height in moved]
