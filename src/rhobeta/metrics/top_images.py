"""What each unit stands for: how often it fires, for which images, and for which class.

All are of the activity a >= 0 of the units over the images of a split; a unit fires for an image
where a is above a threshold, the first of `evaluate.l0_thresholds`.

    firing rate       share of the images for which the unit fires
    class mean m_c    mean activity over the images of class c
    best class        the class with the largest m_c; of several, the first
    selectivity       (m_best - m_rest) / (m_best + m_rest),
                      m_rest the mean of m_c over all other classes

Selectivity is 0 for a unit that answers all classes alike and 1 for one that is silent for all
classes but its best; a unit that is always silent, or data of one class, has 0. Source: the class
selectivity index of Morcos, Barrett, Rabinowitz and Botvinick, "On the importance of single
directions for generalization", 2018.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# More units than the figures ever show (visualize.filters) would only fill the disk.
MOST_UNITS = 1024
IMAGES_OF_A_UNIT = 9


class UnitStatistics(NamedTuple):
    """What the module defines, of each unit."""

    classes: NDArray[np.uint8]
    """The labels, ascending (shape: [classes])."""
    fired: NDArray[np.int64]
    """For how many images the unit fires (shape: [units])."""
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

    Of units with the same mean, the first comes first.
    """
    means = activity.mean(0, dtype=np.float64)
    return np.argsort(-means, kind="stable")[:count].astype(np.int64)


def exciting_images(
    activity: NDArray[np.float32], images: NDArray[np.uint8], *, threshold: float
) -> NDArray[np.uint8]:
    """The images that excite each unit most, the strongest first.

    `activity` is [images, units], `images` [images, height, width]; the result is
    [units, 9, height, width]. Of images that excite a unit equally, the first comes first. A unit
    that fires for fewer than nine has black images in the places left over.
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
    rest = np.sort(means, axis=1)[:, :-1].mean(1)
    total = best + rest
    # The rounding of the mean may put the rest a hair above the best.
    index: NDArray[np.float64] = ((best - rest) / np.where(total > 0, total, 1)).clip(0, 1)
    return index
