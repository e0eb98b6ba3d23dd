"""Statistics of single units, by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rhobeta.config.sections import VisualizeParams
from rhobeta.metrics.units import (
    MOST_UNITS,
    ROWS_OF_A_UNIT,
    class_preferences,
    exciting_rows,
    firing_counts,
    most_active_units,
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
    assert firing_counts(ACTIVITY, threshold=0.25).tolist() == [3, 7, 0, 3]
    found = class_preferences(ACTIVITY, LABELS)
    assert found.classes.tolist() == [2, 5, 7]
    np.testing.assert_allclose(
        found.means,
        [[0.1, 0.7, 0.2], [0.5, 0.5, 0.5], [0, 0, 0], [0, 0, 0.4]],
        atol=1e-7,
    )
    # Of equal classes the first is the best.
    assert found.best.tolist() == [5, 2, 2, 7]
    # Unit 0: the rest is (0.1 + 0.2) / 2 = 0.15, so (0.7 - 0.15) / (0.7 + 0.15) = 11 / 17.
    assert found.selectivity == pytest.approx([11 / 17, 0, 0, 1], abs=1e-6)


def test_unit_fires_above_the_threshold_not_at_it() -> None:
    activity = np.array([[0.5], [0.25], [0.75]], np.float32)
    assert firing_counts(activity, threshold=0.5).tolist() == [1]


def test_selectivity_weights_classes_equally() -> None:
    labels = np.array([0] + [1] * 8 + [2], np.uint8)
    activity = np.where(labels == 0, 1.0, np.where(labels == 1, 0.0, 0.5))[:, None]
    found = class_preferences(activity.astype(np.float32), labels)
    # m_rest = (0 + 0.5) / 2, not 0.5 / 9.
    assert found.selectivity == pytest.approx([0.75 / 1.25])


def test_selectivity_of_one_class_is_zero() -> None:
    found = class_preferences(ACTIVITY[:, :2], np.full(7, 4, np.uint8))
    assert found.selectivity.tolist() == [0, 0]
    assert found.best.tolist() == [4, 4]


def test_selectivity_stays_in_its_range() -> None:
    # Sums of three tenths round so that the rest comes out above the best.
    activity = np.full((30, 1), 0.1, np.float32)
    labels = np.repeat(np.arange(10), 3).astype(np.uint8)
    (value,) = class_preferences(activity, labels).selectivity
    assert 0 <= value < 1e-12


def test_selectivity_does_not_depend_on_scale() -> None:
    once = class_preferences(ACTIVITY, LABELS)
    thrice = class_preferences(3 * ACTIVITY, LABELS)
    np.testing.assert_allclose(thrice.selectivity, once.selectivity, rtol=1e-6)


def test_most_active_units_keep_the_order_of_equal_ones() -> None:
    activity = np.array([[0.1, 0.4, 0.0, 0.4, 0.2], [0.1, 0.2, 0.0, 0.2, 0.3]], np.float32)
    assert most_active_units(activity, count=9).tolist() == [1, 3, 4, 0, 2]
    assert most_active_units(activity, count=2).tolist() == [1, 3]


def order(activity: NDArray[np.float32], threshold: float) -> list[list[int]]:
    found = exciting_rows(activity, threshold=threshold)
    assert found.shape == (activity.shape[1], ROWS_OF_A_UNIT)
    fired = firing_counts(activity, threshold=threshold)
    assert [(rows >= 0).sum() for rows in found] == [min(9, count) for count in fired]
    return [[row for row in rows if row >= 0] for rows in found.tolist()]


def test_exciting_rows_are_those_above_the_threshold() -> None:
    assert order(ACTIVITY, 0.25) == [[0, 5, 3], [0, 1, 2, 3, 4, 5, 6], [], [6, 2, 5]]


def test_exciting_rows_are_at_most_nine() -> None:
    activity = np.full((40, 2), 0.5, np.float32)
    activity[30, 1] = activity[20, 1] = 0.75
    assert order(activity, 0.1) == [[*range(9)], [20, 30, *range(7)]]


def test_most_units_is_the_limit_of_the_figures() -> None:
    (limit,) = (
        item.le for item in VisualizeParams.model_fields["filters"].metadata if hasattr(item, "le")
    )
    assert limit == MOST_UNITS
