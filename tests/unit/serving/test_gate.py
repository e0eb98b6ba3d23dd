"""The gate on plain numbers, worked out by hand."""

import math

import pytest

from rhobeta.config.bounds import Bound
from rhobeta.serving.gate import against_champion, against_thresholds

ACCURATE = Bound("test/probe", False, 0.9)
FEW_DEAD = Bound("test/dead_units", True, 3)
FVU = Bound("test/fvu", True, 0.01)
PROBE = Bound("test/probe", False, -0.005)
CHAMPION = {"test/fvu": 0.25, "test/probe": 0.93}


@pytest.mark.parametrize(
    ("accuracy", "dead", "reasons"),
    [
        (0.9, 3.0, []),
        (0.95, 0.0, []),
        (0.899, 3.0, ["test/probe 0.899, not >= 0.9"]),
        (0.95, 4.0, ["test/dead_units 4, not <= 3"]),
        (
            0.8,
            4.0,
            ["test/probe 0.8, not >= 0.9", "test/dead_units 4, not <= 3"],
        ),
        (math.nan, 0.0, ["test/probe nan, not >= 0.9"]),
        (0.95, math.nan, ["test/dead_units nan, not <= 3"]),
        (0.95, math.inf, ["test/dead_units inf, not <= 3"]),
    ],
)
def test_thresholds_hold_up_to_their_limit(
    accuracy: float, dead: float, reasons: list[str]
) -> None:
    found = against_thresholds(
        [ACCURATE, FEW_DEAD], {"test/probe": accuracy, "test/dead_units": dead}
    )
    assert list(found.reasons) == reasons
    assert found.passed == (not reasons)
    assert len(found.checks) == 2


def test_a_metric_that_was_not_measured_keeps_nothing() -> None:
    found = against_thresholds([FEW_DEAD], {})
    assert found.reasons == ("test/dead_units: not measured on the model",)


@pytest.mark.parametrize(
    ("fvu", "accuracy", "reasons"),
    [
        # Better in both, or in one and level in the other.
        (0.24, 0.94, []),
        (0.24, 0.93, []),
        (0.25, 0.931, []),
        # Better in one, and worse in the other by less than its margin.
        (0.259, 0.94, []),
        (0.20, 0.926, []),
        # By its margin exactly.
        (0.20, 0.925, []),
        (0.26, 0.94, []),
        # By more than its margin, however good the other is.
        (
            0.261,
            0.99,
            ["test/fvu 0.261, champion 0.25: difference +0.011, not <= 0.01"],
        ),
        (
            0.10,
            0.92,
            ["test/probe 0.92, champion 0.93: difference -0.01, not >= -0.005"],
        ),
        # Level, or a little worse in both: no reason to move.
        (0.25, 0.93, ["not better than the champion in any of test/fvu, test/probe"]),
        (0.255, 0.929, ["not better than the champion in any of test/fvu, test/probe"]),
    ],
)
def test_worse_within_the_margins_and_better_somewhere(
    fvu: float, accuracy: float, reasons: list[str]
) -> None:
    mine = {"test/fvu": fvu, "test/probe": accuracy}
    assert list(against_champion([FVU, PROBE], mine, CHAMPION).reasons) == reasons


def test_nan_is_neither_better_nor_within_a_margin() -> None:
    for value in (math.nan, math.inf):
        champion = {"test/fvu": math.inf if value == math.inf else 0.25}
        found = against_champion([FVU], {"test/fvu": value}, champion)
        assert len(found.reasons) == 2


def test_a_champion_without_the_metric_is_not_comparable() -> None:
    found = against_champion([FVU], {"test/fvu": 0.1}, {})
    assert found.reasons[0] == "test/fvu: not measured on the champion"


def test_a_margin_may_ask_for_an_improvement() -> None:
    much = Bound("test/fvu", True, -0.05)
    assert not against_champion([much], {"test/fvu": 0.24}, CHAMPION).passed
    assert against_champion([much], {"test/fvu": 0.19}, CHAMPION).passed


def test_without_margins_nothing_is_compared() -> None:
    assert against_champion([], {}, {}).passed
