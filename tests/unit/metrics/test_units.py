"""Statistics of single units, by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rhobeta.config.sections import VisualizeParams
from rhobeta.metrics.units import (
    IMAGES_OF_A_UNIT,
    MOST_UNITS,
    exciting_images,
    most_active_units,
    unit_statistics,
)

# Unit 0 is for class 5, unit 1 for all alike, unit 2 is inactive, unit 3 is for class 7 alone.
LABELS = np.array([5, 2, 7, 5, 2, 7, 7], np.uint8)
ACTIVITY = np.array(
    [
        [0.9, 0.5, 0.0, 0.0],
        [0.2, 0.5, 0.0, 0.0],
        [0.0, 0.5, 0.0, 0.3],
        [0.5, 0.5, 0.0, 0.0],
        [0.0, 0.5, 0.0, 0.0],
        [0.6, 0.5, 0.0, 0.3],
        [0.0, 0.5, 0.0, 0.6],
    ],
    np.float32,
)


def test_unit_statistics_by_hand() -> None:
    found = unit_statistics(ACTIVITY, LABELS, threshold=0.25)
    assert found.classes.tolist() == [2, 5, 7]
    assert found.fired.tolist() == [3, 7, 0, 3]
    assert found.firing_rate == pytest.approx([3 / 7, 1, 0, 3 / 7])
    np.testing.assert_allclose(
        found.class_means,
        [[0.1, 0.7, 0.2], [0.5, 0.5, 0.5], [0, 0, 0], [0, 0, 0.4]],
        atol=1e-7,
    )
    # Of equal classes the first is the best.
    assert found.best_class.tolist() == [5, 2, 2, 7]
    # Unit 0: the rest is (0.1 + 0.2) / 2 = 0.15, so (0.7 - 0.15) / (0.7 + 0.15) = 11 / 17.
    assert found.selectivity == pytest.approx([11 / 17, 0, 0, 1], abs=1e-6)


def test_unit_fires_above_the_threshold_not_at_it() -> None:
    activity = np.array([[0.5], [0.25], [0.75]], np.float32)
    labels = np.array([0, 1, 1], np.uint8)
    assert unit_statistics(activity, labels, threshold=0.5).fired.tolist() == [1]


def test_selectivity_weights_classes_equally() -> None:
    labels = np.array([0] + [1] * 8 + [2], np.uint8)
    activity = np.where(labels == 0, 1.0, np.where(labels == 1, 0.0, 0.5))[:, None]
    found = unit_statistics(activity.astype(np.float32), labels, threshold=0.1)
    # m_rest = (0 + 0.5) / 2, not 0.5 / 9.
    assert found.selectivity == pytest.approx([0.75 / 1.25])


def test_selectivity_of_one_class_is_zero() -> None:
    found = unit_statistics(ACTIVITY[:, :2], np.full(7, 4, np.uint8), threshold=0.1)
    assert found.selectivity.tolist() == [0, 0]
    assert found.best_class.tolist() == [4, 4]


def test_selectivity_stays_in_its_range() -> None:
    # Sums of three tenths round so that the rest comes out above the best.
    activity = np.full((30, 1), 0.1, np.float32)
    labels = np.repeat(np.arange(10), 3).astype(np.uint8)
    (value,) = unit_statistics(activity, labels, threshold=0.1).selectivity
    assert 0 <= value < 1e-12


def test_selectivity_does_not_depend_on_scale() -> None:
    once = unit_statistics(ACTIVITY, LABELS, threshold=0.1)
    thrice = unit_statistics(3 * ACTIVITY, LABELS, threshold=0.1)
    np.testing.assert_allclose(thrice.selectivity, once.selectivity, rtol=1e-6)


def test_most_active_units_keep_the_order_of_equal_ones() -> None:
    activity = np.array([[0.1, 0.4, 0.0, 0.4, 0.2], [0.1, 0.2, 0.0, 0.2, 0.3]], np.float32)
    assert most_active_units(activity, count=9).tolist() == [1, 3, 4, 0, 2]
    assert most_active_units(activity, count=2).tolist() == [1, 3]


def numbered(count: int) -> NDArray[np.uint8]:
    """Images of 2 x 3 pixels, each filled with its number from 1."""
    return np.broadcast_to(
        np.arange(1, count + 1, dtype=np.uint8)[:, None, None], (count, 2, 3)
    ).copy()


def order(activity: NDArray[np.float32], threshold: float) -> list[list[int]]:
    found = exciting_images(activity, numbered(len(activity)), threshold=threshold)
    assert found.shape == (activity.shape[1], IMAGES_OF_A_UNIT, 2, 3)
    assert found.dtype == np.uint8
    assert (found == found[:, :, :1, :1]).all()
    return [[int(image) for image in images if image] for images in found[:, :, 0, 0]]


def test_exciting_images_are_those_above_the_threshold() -> None:
    assert order(ACTIVITY, 0.25) == [[1, 6, 4], [1, 2, 3, 4, 5, 6, 7], [], [7, 3, 6]]


def test_exciting_images_are_at_most_nine() -> None:
    activity = np.full((40, 2), 0.5, np.float32)
    activity[30, 1] = activity[20, 1] = 0.75
    assert order(activity, 0.1) == [[*range(1, 10)], [21, 31, *range(1, 8)]]


def test_most_units_is_the_limit_of_the_figures() -> None:
    (limit,) = (
        item.le for item in VisualizeParams.model_fields["filters"].metadata if hasattr(item, "le")
    )
    assert limit == MOST_UNITS
