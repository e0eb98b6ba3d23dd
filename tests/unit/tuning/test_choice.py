"""The front and the choice on it, on numbers that one can work out on paper."""

import numpy as np
import pytest

from rhobeta.config.bounds import Bound
from rhobeta.config.search import Rule
from rhobeta.errors import RhobetaError
from rhobeta.metrics.confidence import interval_of
from rhobeta.tuning.choice import TrialRow, choose, front_of, rule_in_words

OBJECTIVES = {"fvu": "minimize", "gini": "maximize"}
KNEE = Rule(None)


def trials(*points: tuple[float, float]) -> list[TrialRow]:
    return [TrialRow(n, {"fvu": fvu, "gini": gini}) for n, (fvu, gini) in enumerate(points)]


def test_the_front_holds_what_no_other_trial_beats() -> None:
    points = trials((0.5, 0.9), (0.2, 0.5), (0.3, 0.4), (0.1, 0.1), (0.2, 0.5), (0.5, 0.8))
    assert [trial.number for trial in front_of(points, OBJECTIVES)] == [3, 1, 4, 0]
    assert front_of([], OBJECTIVES) == []


def test_the_front_of_three_objectives_is_as_defined() -> None:
    numbers = np.random.default_rng(0).random((60, 3)).round(1)
    objectives = {"fvu": "minimize", "gini": "maximize", "l0_at_0.1": "minimize"}
    all_of = [
        TrialRow(n, dict(zip(objectives, map(float, row), strict=True)))
        for n, row in enumerate(numbers)
    ]

    def beats(one: TrialRow, other: TrialRow) -> bool:
        better = [
            (one.measures[m] <= other.measures[m], one.measures[m] < other.measures[m])
            if how == "minimize"
            else (one.measures[m] >= other.measures[m], one.measures[m] > other.measures[m])
            for m, how in objectives.items()
        ]
        return all(as_good for as_good, _ in better) and any(strictly for _, strictly in better)

    expected = {t.number for t in all_of if not any(beats(other, t) for other in all_of)}
    assert {trial.number for trial in front_of(all_of, objectives)} == expected
    assert 3 < len(expected) < 60


def test_the_knee_is_farthest_below_the_line_through_the_ends() -> None:
    # Scaled: (0, 1), (0.25, 0.25), (0.5, 0.125), (1, 0), with 0 the best of each.
    front = trials((0.0, 0.0), (1.0, 0.75), (2.0, 0.875), (4.0, 1.0))
    assert choose(front, OBJECTIVES, KNEE).number == 1
    # The units of an objective do not matter.
    scaled = [TrialRow(t.number, {**t.measures, "gini": 1000 * t.measures["gini"]}) for t in front]
    assert choose(scaled, OBJECTIVES, KNEE).number == 1
    lower = trials((0.0, 0.0), (1.0, 0.5), (2.0, 0.9), (4.0, 1.0))
    assert choose(lower, OBJECTIVES, KNEE).number == 2


def test_of_equal_trials_the_first_is_chosen() -> None:
    assert choose(trials((0.0, 0.0), (1.0, 1.0)), OBJECTIVES, KNEE).number == 0
    assert choose(trials((0.3, 0.4)), OBJECTIVES, KNEE).number == 0
    assert choose(trials((0.3, 0.4), (0.3, 0.4)), OBJECTIVES, KNEE).number == 0


@pytest.mark.parametrize(
    ("rule", "number"),
    [
        (Rule("fvu"), 0),
        (Rule("gini"), 3),
        (Rule("fvu", (Bound("gini", False, 0.5),)), 1),
        (Rule("gini", (Bound("fvu", True, 2.0),)), 2),
        (Rule("gini", (Bound("fvu", True, 3.9), Bound("gini", True, 0.8))), 1),
    ],
)
def test_the_best_of_one_objective_where_bounds_are_kept(rule: Rule, number: int) -> None:
    front = trials((0.0, 0.0), (1.0, 0.75), (2.0, 0.875), (4.0, 1.0))
    assert choose(front, OBJECTIVES, rule).number == number


def test_where_nothing_keeps_the_bounds_the_range_is_told() -> None:
    front = trials((0.25, 0.0), (1.0, 0.75))
    with pytest.raises(RhobetaError, match=r"front of 2 has fvu <= 0\.1: fvu is 0\.25 to 1 there"):
        choose(front, OBJECTIVES, Rule("gini", (Bound("fvu", True, 0.1),)))
    with pytest.raises(RhobetaError, match=r"2 of the 2 trials .* were not measured by hoyer"):
        choose(front, OBJECTIVES, Rule("gini", (Bound("hoyer", True, 0.1),)))
    with pytest.raises(RhobetaError, match=r"keeps all of tune\.constraints"):
        choose([], OBJECTIVES, KNEE)


def test_what_only_some_trials_were_measured_by_chooses_none() -> None:
    measured, other = trials((0.25, 0.0), (1.0, 0.75))
    front = [TrialRow(0, {**measured.measures, "probe": 0.9}), other]
    rule = Rule("gini", (Bound("probe", False, 0.8),))
    for order in (front, front[::-1]):
        with pytest.raises(RhobetaError, match=r"1 of the 2 .* not measured by probe"):
            choose(order, OBJECTIVES, rule)


def test_the_rule_is_said_in_words() -> None:
    assert rule_in_words(KNEE, OBJECTIVES).startswith("the knee of the front: each of fvu, gini")
    rule = Rule("gini", (Bound("fvu", True, 0.25), Bound("dead_share", True, 0.05)))
    assert (
        rule_in_words(rule, OBJECTIVES)
        == "the highest gini on the front where fvu <= 0.25 and dead_share <= 0.05"
    )
    assert rule_in_words(Rule("fvu"), OBJECTIVES) == "the lowest fvu on the front"


def test_the_interval_is_student_s() -> None:
    # s = 1, n = 3: t of 2 degrees of freedom at 0.975 is 4.302653.
    over = interval_of([1.0, 2.0, 3.0])
    assert over.mean == 2.0
    assert over.half == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert over.seeds == 3
    assert interval_of([5.0]).half == float("inf")
