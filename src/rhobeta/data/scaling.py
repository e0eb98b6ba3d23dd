"""The mean, the range and the scale of training rows; (x - mean) / scale, which training sees.

All sums are taken in float64 over pieces of the same size, so that rows in memory and rows in a
mapped file give the same numbers, bit for bit.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.data.batches import to_unit_interval
from rhobeta.data.rows import PIECE_ROWS, RowSource

# Few enough for float64 of them to stay in the cache.
_SCALED_ROWS = 64
# Relative to the mean square: a smaller variance is the rounding of the mean.
_ROUNDING = 1e-24


@dataclass(frozen=True)
class InputScale:
    """What is subtracted from rows and what they are divided by; None for neither."""

    mean: NDArray[np.float64] | None = None
    """Shape: [features]; bytes count as numbers in [0, 1]."""
    scale: float | None = None

    @property
    def changes_nothing(self) -> bool:
        """Whether rows stay as they are."""
        return self.mean is None and self.scale is None

    def exact(self, rows: Tensor) -> Tensor:
        """(rows - mean) / scale in float64, on the CPU (shape: [rows, features])."""
        numbers = to_unit_interval(rows, torch.float64)
        if self.mean is not None:
            numbers = numbers - torch.from_numpy(self.mean)
        return numbers if self.scale is None else numbers / self.scale

    def apply(self, rows: Tensor) -> Tensor:
        """(rows - mean) / scale, rounded once to float32; rows as they are where it does nothing.

        On the CPU (shape: [rows, features]).
        """
        if self.changes_nothing:
            return rows
        # numpy's: glibc does not reuse the aligned memory of torch, and the process would grow.
        scaled = torch.from_numpy(np.empty(rows.shape, np.float32))
        for part, piece in zip(
            torch.split(scaled, _SCALED_ROWS), torch.split(rows, _SCALED_ROWS), strict=True
        ):
            part.copy_(self.exact(piece))
        return scaled


@dataclass(frozen=True)
class RowStatistics:
    """Mean and range of rows; bytes count as numbers in [0, 1]."""

    mean: NDArray[np.float64]
    """Of each feature (shape: [features])."""
    low: float
    """The least of all values; NaN where one is NaN."""
    high: float
    """The largest of all values."""


def statistics_of(source: RowSource) -> RowStatistics:
    """Mean and range of the rows (one row or more), in one pass."""
    total = np.zeros(source.features)
    low, high = np.inf, -np.inf
    for piece in source.pieces(0, len(source), PIECE_ROWS):
        values = torch.from_numpy(piece).double()
        # The sums of bytes are whole numbers, and exact.
        total += values.numpy().sum(0)
        low, high = np.minimum(low, values.min().item()), np.maximum(high, values.max().item())
    unit = 255.0 if source.dtype == np.uint8 else 1.0
    return RowStatistics(total / len(source) / unit, float(low / unit), float(high / unit))


def range_of(source: RowSource) -> tuple[float, float]:
    """The least and the largest value; bytes are not read and count as [0, 1]."""
    if source.dtype == np.uint8:
        return 0.0, 1.0
    low, high = np.inf, -np.inf
    for piece in source.pieces(0, len(source), PIECE_ROWS):
        values = torch.from_numpy(piece)
        low, high = np.minimum(low, values.min().item()), np.maximum(high, values.max().item())
    return float(low), float(high)


def input_scale(
    source: RowSource, mean: NDArray[np.float64], *, center: bool, scale: bool
) -> InputScale:
    """The scale of training: the mean of each feature, and one divisor for all features.

    The divisor is the root of the mean over features of their variances, so that FVU keeps its
    meaning. Rows that are all the same are not divided. `mean` is that of `statistics_of`.
    """
    divisor = None
    if scale:
        variance, square = np.zeros(source.features), np.zeros(source.features)
        for piece in source.pieces(0, len(source), PIECE_ROWS):
            values = to_unit_interval(torch.from_numpy(piece), torch.float64).numpy()
            variance += np.square(values - mean).sum(0)
            square += np.square(values).sum(0)
        if variance.sum() > _ROUNDING * square.sum():
            divisor = float(np.sqrt(variance.mean() / len(source)))
    return InputScale(mean if center else None, divisor)
