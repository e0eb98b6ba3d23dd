"""The figure of rate and distortion: how many bits an image takes for how small an error."""

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from rhobeta.errors import RhobetaError
from rhobeta.reporting.style import BLUE, INK, ORANGE, RED
from rhobeta.reporting.task_rows import in_bits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = dict[str, list[tuple[float, float]]]
"""Bits per image and MSE of each coder, in rising order of bits."""

_FEWEST_BITS = 3.0
_CODERS = {"code": ("code", BLUE, "o"), "pca": ("PCA", ORANGE, "s"), "jpeg": ("JPEG", RED, "^")}


def read_curves(text: str, *, name: str) -> Curves:
    """Curves of the table of rate and distortion. Raises `RhobetaError` where it is not one."""
    curves: Curves = {coder: [] for coder in _CODERS}
    try:
        for row in csv.DictReader(io.StringIO(text)):
            curves[row["coder"]].append((float(row["bits"]), float(row["mse"])))
    except (KeyError, ValueError, TypeError, csv.Error) as error:
        raise RhobetaError(
            f"{name} is not a table of rate and distortion ({error}).\n"
            "Run `dvc repro --force evaluate` to make it anew."
        ) from None
    return curves


def draw_rate_distortion(curves: Curves, point: Mapping[str, Any]) -> "Figure":
    """MSE against bits per image, and what each coder needs for the error at the code's `point`.

    `point` is the `compression` section of the metrics.
    """
    mse = point["mse"]
    figure, axis = plt.subplots(figsize=(7.5, 4.2))
    for coder, (label, colour, marker) in _CODERS.items():
        bits = point[f"{coder}_bits"]
        rates = [rate for rate, _ in curves[coder]]
        errors = [error for _, error in curves[coder]]
        what = f"{label}: {in_bits(bits)}"
        axis.plot(rates, errors, color=colour, marker=marker, markersize=4, label=what)
        if bits is not None:
            shape, size = ("*", 19) if coder == "code" else ("o", 10)
            axis.plot(bits, mse, marker=shape, color=colour, mec=INK, mew=1.3, ms=size, zorder=4)
    axis.axhline(mse, color=INK, linestyle=":", linewidth=1.2, zorder=1)
    # JPEG goes on to errors that codes never see; what is near the code is what is read.
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
    axis.legend(title=f"at an MSE of {mse:.4f} (dotted)", loc="upper right")
    axis.set(
        title="Error against size",
        xlabel="bits per test image (log)",
        ylabel="mean squared error (log)",
    )
    return figure
