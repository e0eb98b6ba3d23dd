"""What an array holds: range, mean and spread, summed up piece by piece."""

import math

import numpy as np
from numpy.typing import NDArray


class Summary:
    """Range, mean and spread of samples of one shape.

    Means and sums of squares are float64 and joined by the formula of Chan, Golub and LeVeque, so
    that they do not depend on the size of the pieces but for rounding.

    >>> summary = Summary((2,))
    >>> summary.add(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> summary.low, summary.high, summary.constant.tolist()
    (1.0, 5.0, [False, True])
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        size = math.prod(shape)
        self._low, self._high = np.full(size, np.inf), np.full(size, -np.inf)
        self._sum, self._mean, self._squares = np.zeros(size), np.zeros(size), np.zeros(size)

    def add(self, piece: NDArray[np.number]) -> None:
        """Add samples ([n, ...])."""
        if len(piece) == 0:
            return
        # Before the extremes as well: NumPy takes forty times as long for those of float16.
        values = piece.reshape(len(piece), -1).astype(np.float64)
        self._low = np.minimum(self._low, values.min(0))
        self._high = np.maximum(self._high, values.max(0))
        total = values.sum(0)
        mean = total / len(values)
        values -= mean
        share = len(values) / (self.count + len(values))
        away = mean - self._mean
        self._squares += np.einsum("ij,ij->j", values, values) + away**2 * self.count * share
        self._mean += away * share
        self._sum += total
        self.count += len(values)

    @property
    def low(self) -> float:
        """The smallest value."""
        return float(self._low.min())

    @property
    def high(self) -> float:
        """The largest value."""
        return float(self._high.max())

    @property
    def overall_mean(self) -> float:
        """The mean of all values; exact for integers."""
        return float(self._sum.sum() / (self.count * len(self._sum)))

    @property
    def constant(self) -> NDArray[np.bool_]:
        """Which features have one value in all samples (shape: [features])."""
        same: NDArray[np.bool_] = self._low == self._high
        return same

    @property
    def spreads(self) -> NDArray[np.float64]:
        """The standard deviation of each feature (shape: [features])."""
        found: NDArray[np.float64] = np.sqrt(self._squares / self.count)
        return found

    @property
    def mean_over_std(self) -> float:
        """|mean| / sqrt(sum over features of the variance), from 0; inf where all are the same."""
        spread = math.sqrt(self._squares.sum() / self.count)
        length = float(np.linalg.norm(self._mean))
        return length / spread if spread else math.inf
