"""Confidence intervals of means."""

from collections.abc import Sequence
from dataclasses import dataclass

_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and half of its 95 % confidence interval (Student's t)."""

    mean: float
    half: float
    seeds: int


def interval_of(values: Sequence[float]) -> Interval:
    """Mean of n values and the half-width t_(n-1) s / sqrt n of its 95 % interval.

    s is the sample's standard deviation; the half-width of a single value is infinite.

    >>> interval = interval_of([1.0, 2.0, 3.0])
    >>> interval.mean, round(interval.half, 3)
    (2.0, 2.484)
    """
    import numpy as np
    from scipy.special import stdtrit

    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return Interval(float(sample.mean()), float("inf"), len(sample))
    factor = stdtrit(len(sample) - 1, (1 + _CONFIDENCE) / 2)
    half = factor * sample.std(ddof=1) / np.sqrt(len(sample))
    return Interval(float(sample.mean()), float(half), len(sample))
