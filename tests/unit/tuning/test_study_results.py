"""What a study's trials, and their repeats with further seeds, come to."""

import csv
import io
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.config.search import SEED
from rhobeta.tuning.study import ERROR, MEASURES, RUN
from rhobeta.tuning.study_results import as_csv, front_table, read_results

DIRECTIONS = ["minimize", "maximize"]
SPACE = {
    "penalty.rho": FloatDistribution(0.01, 0.5, log=True),
    "penalty.beta": FloatDistribution(0.0001, 0.1, log=True),
}
# Trial 0 is the best by fvu alone, trial 2 by gini.
SEARCHED = [(0.1, 0.5), (0.2, 0.6), (0.3, 0.9)]
# By trial and seed: with other seeds, trial 0 is behind trial 1 in both.
AGAIN = {
    0: [(0.40, 0.40), (0.44, 0.42)],
    1: [(0.21, 0.61), (0.23, 0.63)],
    2: [(0.31, 0.90), (0.33, 0.92)],
}


def params_with(**changes: Any) -> Params:
    named = {f"tune.{name}": value for name, value in changes.items()}
    return check_params(with_changes({"tune.choose": "best fvu"} | named), where="test")


def values_of_trial(number: int) -> dict[str, float]:
    return {"penalty.rho": 0.05 + 0.01 * number, "penalty.beta": 0.001}


def searched(
    params: Params, points: list[tuple[float, float]], dead: dict[int, float] | None = None
) -> optuna.Study:
    study = optuna.create_study(directions=DIRECTIONS)
    for number, (fvu, gini) in enumerate(points):
        share = (dead or {}).get(number, 0.0)
        study.add_trial(
            create_trial(
                params=values_of_trial(number),
                distributions=SPACE,
                values=[fvu, gini],
                user_attrs={MEASURES: {"fvu": fvu, "gini": gini, "dead_share": share}},
                constraints={"dead_share <= 0.05": share - 0.05},
            )
        )
    return study


def repeated(params: Params, again: dict[int, list[tuple[float, float]]]) -> optuna.Study:
    study = optuna.create_study(directions=DIRECTIONS)
    for number, points in again.items():
        for seed, (fvu, gini) in enumerate(points, 1):
            study.add_trial(
                create_trial(
                    params={**values_of_trial(number), SEED: seed},
                    distributions={**SPACE, SEED: IntDistribution(0, 100)},
                    values=[fvu, gini],
                    user_attrs={MEASURES: {"fvu": fvu, "gini": gini, "dead_share": 0.0}},
                )
            )
    return study


def test_a_trial_that_breaks_a_bound_is_not_on_the_front() -> None:
    params = params_with()
    best = [*SEARCHED, (0.01, 0.99)]
    results = read_results(searched(params, best, dead={3: 0.2}), None, params)
    assert [candidate.number for candidate in results.front] == [0, 1, 2]
    assert results.chosen == 0
    assert [row.keeps_bounds for row in results.rows] == [True, True, True, False]
    # What it is kept out by is the bound alone.
    assert read_results(searched(params, best), None, params).chosen == 3


@pytest.mark.parametrize(
    ("measures", "lacking"),
    [
        (["fvu"], "fvu"),
        ({"fvu": "0.1", "gini": 0.9, "dead_share": 0.0}, "fvu"),
        ({"fvu": 0.0, "gini": float("nan"), "dead_share": 0.0}, "gini"),
        ({"fvu": 10**400, "gini": 1.0, "dead_share": 0.0}, "fvu"),
        ({"fvu": 0.0, "gini": 1.0}, "dead_share"),
    ],
)
def test_a_trial_without_its_measures_is_left_out(measures: Any, lacking: str) -> None:
    params = params_with()
    study = searched(params, SEARCHED)
    (other, *_) = study.get_trials()
    other.user_attrs = {MEASURES: measures, RUN: "](javascript:alert(1))"}
    study.add_trial(other)
    results = read_results(study, None, params)
    assert [row.number for row in results.complete] == [0, 1, 2]
    (left_out,) = results.invalid
    assert (left_out.note, left_out.run_id) == (f"trial 3 has no number for {lacking}", "")


def test_the_choice_is_by_means_where_no_seed_is_missing() -> None:
    params = params_with(seeds=2)
    results = read_results(searched(params, SEARCHED), repeated(params, AGAIN), params)
    assert results.shortfall == ""
    # Trial 0 is the best of the front, by luck.
    assert results.chosen == 1
    assert results.repeated[1]["fvu"].mean == pytest.approx(0.22)
    assert front_table(results).count("±") == 6


def test_means_count_against_the_constraints_too() -> None:
    params = params_with(seeds=2, constraints=["dead_share <= 0.05", "fvu <= 0.215"])
    results = read_results(searched(params, SEARCHED[:2]), repeated(params, AGAIN), params)
    assert [candidate.number for candidate in results.front] == [0, 1]
    assert results.chosen is None
    assert "No finished trial keeps all of tune.constraints" in results.why_none


@pytest.mark.parametrize(
    ("again", "missing"),
    [
        ({}, 6),
        # As Ctrl-C leaves it: the two ends of the front alone.
        ({0: AGAIN[0], 2: AGAIN[2]}, 2),
        ({**AGAIN, 1: AGAIN[1][:1]}, 1),
    ],
)
def test_the_choice_is_by_the_front_while_seeds_are_missing(
    again: dict[int, list[tuple[float, float]]], missing: int
) -> None:
    params = params_with(seeds=2)
    results = read_results(searched(params, SEARCHED), repeated(params, again), params)
    assert results.repeated == {}
    assert results.chosen == 0
    assert f"{missing} of 6 trainings with further seeds" in results.shortfall


def test_seeds_that_are_not_asked_for_count_for_nothing() -> None:
    asked, none = params_with(seeds=2), params_with(seeds=0)
    more = {number: [*points, (9.0, 0.0)] for number, points in AGAIN.items()}
    study = searched(asked, SEARCHED)
    results = read_results(study, repeated(asked, more), asked)
    assert results.chosen == 1
    assert results.repeated[1]["fvu"].mean == pytest.approx(0.22)
    assert read_results(study, repeated(none, AGAIN), none).chosen == 0


def test_a_metric_of_some_repeats_alone_chooses_none() -> None:
    params = params_with(seeds=2, choose="best fvu where probe >= 0.5")
    study, seeds = searched(params, SEARCHED), repeated(params, AGAIN)
    first, *others = seeds.get_trials()
    first.user_attrs[MEASURES] = {**first.user_attrs[MEASURES], "probe": 0.9}
    changed = optuna.create_study(directions=DIRECTIONS)
    changed.add_trials([first, *others])
    results = read_results(study, changed, params)
    assert results.chosen is None
    assert "not measured by probe" in results.why_none


def test_the_table_holds_every_trial_and_marks_the_chosen_one() -> None:
    params = params_with()
    study = searched(params, [*SEARCHED, (0.01, 0.99)], dead={3: 0.2})
    failed = create_trial(state=TrialState.FAIL, user_attrs={ERROR: "it diverged, badly"})
    study.add_trial(failed)
    rows = list(csv.DictReader(io.StringIO(as_csv(read_results(study, None, params)))))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [row["state"] for row in rows] == ["complete"] * 4 + ["failed"]
    assert (rows[4]["note"], rows[4]["fvu"]) == ("it diverged, badly", "")
    assert [row["chosen"] for row in rows] == ["yes", "no", "no", "no", "no"]
    assert [row["front"] for row in rows] == ["yes", "yes", "yes", "no", "no"]
    assert [row["keeps_bounds"] for row in rows] == ["yes", "yes", "yes", "no", ""]
    assert float(rows[1]["fvu"]) == 0.2


def test_the_front_as_text_marks_the_chosen_trial() -> None:
    params = params_with()
    lines = front_table(read_results(searched(params, SEARCHED), None, params)).splitlines()
    assert len(lines) == 2 + 3
    assert [line.split()[1] for line in lines if line.startswith("->")] == ["0"]


def test_measures_of_version_0_1_have_the_names_of_today() -> None:
    params = params_with()
    study = searched(params, SEARCHED[:1])
    old = study.get_trials()[0]
    old.user_attrs[MEASURES] = {**old.user_attrs[MEASURES], "l0@0.1": 3.0}
    study = optuna.create_study(directions=DIRECTIONS)
    study.add_trial(old)
    assert read_results(study, None, params).rows[0].measures["l0_at_0.1"] == 3.0
