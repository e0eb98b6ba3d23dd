"""Means and spreads over whole splits, summed in float64 without float64 copies."""

import numpy as np
from numpy.typing import NDArray

# Relative to the root mean square of the features: a smaller spread is rounding.
_ROUNDING = 1e-6


def mean_square(difference: NDArray[np.floating]) -> float:
    """Mean of the squares of all entries.

    >>> mean_square(np.array([[3.0, 0.0], [1.0, 2.0]]))
    3.5
    """
    return float(np.square(difference, dtype=np.float64).mean())


def mean_and_spread(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Mean of each feature (shape: [features]) and the spread of all ([samples, features]).

    The spread is sqrt(mean over samples and features of (x_ij - mean_j)^2). Where no feature
    varies it is 1, so that callers can divide by it.
    """
    mean = features.mean(0, dtype=np.float64)
    # E x^2 - (E x)^2 without a centred copy: the pixels of a data set are large.
    squares = np.einsum("ij,ij->", features, features, dtype=np.float64) / features.size
    variance = squares - np.square(mean).mean()
    return mean, float(np.sqrt(variance)) if variance > _ROUNDING**2 * squares else 1.0
