"""Statistics of single units: how often a unit fires, for which images and for which class.

All use the activity a >= 0 of the units over the images of a split. A unit fires for an image
where a is above a threshold, the first of `evaluate.l0_thresholds`.

    firing rate       share of the images for which the unit fires
    class mean m_c    mean activity over the images of class c
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
IMAGES_OF_A_UNIT = 9


class UnitStatistics(NamedTuple):
    """The statistics that the module defines, of each unit."""

    classes: NDArray[np.uint8]
    """The labels, ascending (shape: [classes])."""
    fired: NDArray[np.int64]
    """Number of images for which the unit fires (shape: [units])."""
    firing_rate: NDArray[np.float64]
    """The same as a share of all images (shape: [units])."""
    class_means: NDArray[np.float64]
    """m_c (shape: [units, classes])."""
    best_class: NDArray[np.uint8]
    """The label of the best class (shape: [units])."""
    selectivity: NDArray[np.float64]
    """In [0, 1] (shape: [units])."""


def unit_statistics(
    activity: NDArray[np.float32], labels: NDArray[np.uint8], *, threshold: float
) -> UnitStatistics:
    """The statistics of units (`activity`: [images, units], `labels`: [images])."""
    classes = np.unique(labels)
    means = np.stack([activity[labels == label].mean(0, dtype=np.float64) for label in classes], 1)
    fired = (activity > threshold).sum(0, dtype=np.int64)
    return UnitStatistics(
        classes=classes,
        fired=fired,
        firing_rate=fired / len(labels),
        class_means=means,
        best_class=classes[means.argmax(1)],
        selectivity=_selectivity(means),
    )


def most_active_units(activity: NDArray[np.float32], *, count: int) -> NDArray[np.int64]:
    """At most `count` units in falling order of mean activity ([images, units] -> [units]).

    Units with the same mean keep their order.

    >>> most_active_units(np.array([[0.1, 0.4, 0.4]], np.float32), count=2).tolist()
    [1, 2]
    """
    means = activity.mean(0, dtype=np.float64)
    return np.argsort(-means, kind="stable")[:count].astype(np.int64)


def exciting_images(
    activity: NDArray[np.float32], images: NDArray[np.uint8], *, threshold: float
) -> NDArray[np.uint8]:
    """The nine images that excite each unit most, the strongest first.

    `activity` is [images, units], `images` [images, height, width]; the result is
    [units, 9, height, width]. Images that excite a unit equally keep their order. Where a unit
    fires for fewer than nine images, the remaining places are black.
    """
    chosen = np.zeros((activity.shape[1], IMAGES_OF_A_UNIT, *images.shape[1:]), np.uint8)
    for unit, values in enumerate(np.ascontiguousarray(activity.T)):
        strongest = np.argsort(-values, kind="stable")[:IMAGES_OF_A_UNIT]
        strongest = strongest[values[strongest] > threshold]
        chosen[unit, : len(strongest)] = images[strongest]
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
