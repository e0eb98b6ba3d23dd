"""Means and spreads over whole splits, summed in float64 without copies in float64."""

import numpy as np
from numpy.typing import NDArray

# Of the features' root mean square: a spread below this is rounding.
_ROUNDING = 1e-6


def mean_square(difference: NDArray[np.floating]) -> float:
    """Mean over all entries of the square."""
    return float(np.square(difference, dtype=np.float64).mean())


def mean_and_spread(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Mean of each feature (shape: [features]), and their spread, of [samples, features].

    The spread is the root mean square, over samples and features, of the features less their
    means; 1 where no feature varies, so that one can divide by it.
    """
    mean = features.mean(0, dtype=np.float64)
    # E x^2 - (E x)^2 without a centred copy: the pixels of a data set are large.
    squares = np.einsum("ij,ij->", features, features, dtype=np.float64) / features.size
    variance = squares - np.square(mean).mean()
    return mean, float(np.sqrt(variance)) if variance > _ROUNDING**2 * squares else 1.0
