"""Statistics of single units: how often a unit fires, for which samples and for which class.

All use the activity a >= 0 of the units over the samples of a split. A unit fires for a sample
where a is above a threshold, the first of `evaluate.l0_thresholds`.

    firing rate       share of the samples for which the unit fires
    class mean m_c    mean activity over the samples of class c
    best class        the class with the largest m_c; of several, the first
    selectivity       (m_best - m_rest) / (m_best + m_rest),
                      m_rest the mean of m_c over all other classes

Selectivity is 0 for a unit with the same mean for all classes, and 1 for a unit that is inactive
for all classes but its best. A unit that is never active, or data of one class, has 0. Source: the
class selectivity index of Morcos, Barrett, Rabinowitz and Botvinick, "On the importance of single
directions for generalization", 2018.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# As many as the figures can show (`visualize.filters`).
MOST_UNITS = 1024
ROWS_OF_A_UNIT = 9


class ClassPreferences(NamedTuple):
    """What each unit has to do with the classes."""

    classes: NDArray[np.uint8]
    """The labels, ascending (shape: [classes])."""
    means: NDArray[np.float64]
    """m_c (shape: [units, classes])."""
    best: NDArray[np.uint8]
    """The label of the best class (shape: [units])."""
    selectivity: NDArray[np.float64]
    """In [0, 1] (shape: [units])."""


def firing_counts(activity: NDArray[np.float32], *, threshold: float) -> NDArray[np.int64]:
    """Number of samples for which each unit fires ([samples, units] -> [units])."""
    counts: NDArray[np.int64] = (activity > threshold).sum(0, dtype=np.int64)
    return counts


def class_preferences(activity: NDArray[np.float32], labels: NDArray[np.uint8]) -> ClassPreferences:
    """The classes of units (`activity`: [samples, units], `labels`: [samples])."""
    classes = np.unique(labels)
    means = np.stack([activity[labels == label].mean(0, dtype=np.float64) for label in classes], 1)
    return ClassPreferences(classes, means, classes[means.argmax(1)], _selectivity(means))


def most_active_units(activity: NDArray[np.float32], *, count: int) -> NDArray[np.int64]:
    """At most `count` units in falling order of mean activity ([images, units] -> [units]).

    Units with the same mean keep their order.

    >>> most_active_units(np.array([[0.1, 0.4, 0.4]], np.float32), count=2).tolist()
    [1, 2]
    """
    means = activity.mean(0, dtype=np.float64)
    return np.argsort(-means, kind="stable")[:count].astype(np.int64)


def exciting_rows(activity: NDArray[np.float32], *, threshold: float) -> NDArray[np.int64]:
    """The nine samples that excite each unit most, the strongest first.

    `activity` is [samples, units]; the result holds their indices, [units, 9]. Samples that excite
    a unit equally keep their order. Where a unit fires for fewer than nine samples, -1 follows.
    """
    chosen = np.full((activity.shape[1], ROWS_OF_A_UNIT), -1)
    for unit, values in enumerate(np.ascontiguousarray(activity.T)):
        strongest = np.argsort(-values, kind="stable")[:ROWS_OF_A_UNIT]
        strongest = strongest[values[strongest] > threshold]
        chosen[unit, : len(strongest)] = strongest
    return chosen


def _selectivity(means: NDArray[np.float64]) -> NDArray[np.float64]:
    if means.shape[1] == 1:
        return np.zeros(len(means))
    best = means.max(1)
    rest = np.sort(means, axis=1, kind="stable")[:, :-1].mean(1)
    total = best + rest
    # Rounding may put the mean of the rest slightly above the best.
    index: NDArray[np.float64] = ((best - rest) / np.where(total > 0, total, 1)).clip(0, 1)
    return index
