"""Learning curves."""

import csv
import io
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from rhobeta.errors import RhobetaError
from rhobeta.reporting.style import BLUE, GREY, ORANGE, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

History = dict[str, list[float]]

_TRAIN = ("epoch", *(f"train_{name}" for name in ("loss", "mse", "penalty", "mean_activity")))
_VALIDATION = tuple(f"validation_{name}" for name in ("loss", "mse", "penalty", "rho_hat_mean"))


def read_history(text: str, *, name: str) -> History:
    """Columns of the history table; without validation images, only those of training.

    Raises `RhobetaError` where the text is not a history.
    """
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
        # Without validation images, its columns are empty.
        filled = [column for column, value in rows[0].items() if value != ""]
        history = {column: [float(row[column]) for row in rows] for column in filled}
        validates = any(column.startswith("validation_") for column in history)
        columns = (*_TRAIN, *_VALIDATION) if validates else _TRAIN
        # Beta is there where it changed in training.
        columns = (*columns, "beta") if "beta" in history else columns
        return {column: history[column] for column in columns}
    except (ValueError, TypeError, LookupError, csv.Error) as error:
        raise RhobetaError(
            f"{name} is not a training history ({error}).\nRun `dvc repro` to write it again."
        ) from None


def draw_learning_curves(history: History, best_epoch: int, rho: float | None) -> "Figure":
    """Loss, squared error, penalty and mean activation by epoch, for train and validation.

    Beta as well, where it changed. The epoch whose weights were kept, `best_epoch`, is marked.
    """
    panels = [
        ("loss", "Loss", True),
        ("mse", "Mean squared error", True),
        ("penalty", "Penalty", True),
        ("mean_activity", "Mean activation", False),
    ]
    if "beta" in history:
        panels.append(("beta", "Weight beta of the penalty", True))
    if not any(history["train_penalty"]):
        panels = [panel for panel in panels if panel[0] not in ("loss", "penalty")]
    figure, axes = plt.subplots(1, len(panels), figsize=(3.3 * len(panels), 3.1))
    for axis, (name, title, logarithmic) in zip(axes, panels, strict=True):
        validation = "rho_hat_mean" if name == "mean_activity" else name
        train = name if name == "beta" else f"train_{name}"
        _draw(axis, history, train, f"validation_{validation}", title)
        axis.axvline(best_epoch, color=GREY, linestyle=":", linewidth=1.2)
        if logarithmic:
            axis.set_yscale("log")
        elif rho is not None:
            axis.axhline(rho, color=RED, linestyle="--", linewidth=1.2, label=f"rho = {rho:g}")
            axis.set_ylim(bottom=0)
    axes[3 if len(panels) > 3 else -1].legend()
    return figure


def _draw(axis: "Axes", history: History, train: str, validation: str, title: str) -> None:
    epochs = history["epoch"]
    marker = "o" if len(epochs) == 1 else None
    axis.plot(epochs, history[train], color=BLUE, marker=marker, label="train")
    if validation in history:
        axis.plot(epochs, history[validation], color=ORANGE, marker=marker, label="validation")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axis.set(title=title, xlabel="epoch")
