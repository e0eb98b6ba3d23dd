"""The section tune of params.yaml."""

from typing import Any

import pytest

from helpers import with_changes
from rhobeta.config.bounds import Bound
from rhobeta.config.params import Params, check_params
from rhobeta.config.search import METRICS, NEED_RHO, Rule
from rhobeta.errors import RhobetaError
from rhobeta.metrics.sparsity import SparsityAccumulator

TWO = {"fvu": "minimize", "gini": "maximize"}
RELU = {"model.code_activation": "relu", "penalty.kind": "l1_code"}


def accepted(changes: dict[str, Any]) -> Params:
    return check_params(with_changes(changes), where="params.yaml")


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(RhobetaError) as caught:
        accepted(changes)
    first, fault = str(caught.value).splitlines()
    assert first == "params.yaml is refused:"
    return fault.removeprefix("  ")


def space(path: str, **dimension: Any) -> dict[str, Any]:
    return {"tune.space": {path: dimension}}


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            space("penalty.rh", low=0.1, high=0.2),
            "tune.space.penalty.rh: unknown, allowed: parameters of model, penalty, topk, training."
            " Did you mean penalty.rho?",
        ),
        (
            space("data.seed", low=0, high=2),
            "tune.space.data.seed: unknown, allowed: parameters of model, penalty, topk, training",
        ),
        (space("topk.revive", low=0, high=1), "Did you mean topk.auxk_coef?"),
        (
            space("training.seed", low=0, high=2),
            "tune.space.training.seed: a seed is not searched; tune.seeds repeats the trials",
        ),
        (
            space("penalty.rho", low=0.3, high=0.2),
            "tune.space.penalty.rho: found 0.3 to 0.2, allowed: numbers, low below high",
        ),
        (
            space("penalty.rho", low=0.1, high=2),
            "tune.space.penalty.rho.high: found 2: Input should be less than 1",
        ),
        (
            space("penalty.rho", low=0.0, high=0.5),
            "tune.space.penalty.rho.low: found 0.0: Input should be greater than 0",
        ),
        (
            space("penalty.beta", low=0, high=2, log=True),
            "tune.space.penalty.beta: found log true with low 0, allowed: low above 0",
        ),
        (
            space("training.epochs", low=1.5, high=20),
            "tune.space.training.epochs.low: found 1.5: Input should be a valid integer",
        ),
        (
            space("penalty.rho", low="a", high=0.2),
            "tune.space.penalty.rho.low: found 'a': Input should be a valid number",
        ),
        (
            space("penalty.rho", low=0.1, high=float("nan")),
            "tune.space.penalty.rho.high: found nan: Input should be",
        ),
        (space("penalty.rho", lo=0.1, high=0.2), "tune.space.penalty.rho.lo: unknown key"),
        (
            space("penalty.rho", high=0.2),
            "tune.space.penalty.rho: found high, allowed: low and high (and log), or choices",
        ),
        (
            space("penalty.rho", low=0.1, choices=[0.1, 0.2]),
            "tune.space.penalty.rho: found choices, low, allowed: low and high (and log), or",
        ),
        (
            space("penalty.rho", choices=[0.1, 0.1]),
            "tune.space.penalty.rho: found choices [0.1, 0.1], allowed: two or more, no",
        ),
        (
            space("penalty.kind", choices=["kl", "kll"]),
            "tune.space.penalty.kind.choices: found 'kll': Value error, : found 'kll'",
        ),
        (
            space("model.tied_weights", low=0, high=1),
            "tune.space.model.tied_weights.low: found 0: Input should be a valid boolean",
        ),
        (
            space("penalty.kind", low="kl", high="none"),
            "tune.space.penalty.kind: found kl to none, allowed: numbers",
        ),
        ({"tune.space": {}}, "tune.space: found an empty section, allowed: one parameter or more"),
        (
            {"tune.objectives": {"fvu": "minimize"}},
            "tune.objectives: found 1 (fvu) with tune.mode pareto, allowed: one with tune.mode",
        ),
        (
            {"tune.mode": "single"},
            "tune.objectives: found 2 (fvu, gini) with tune.mode single, allowed: one with",
        ),
        (
            {"tune.objectives": {"fvu": "minimise", "gini": "maximize"}},
            "tune.objectives.fvu: found 'minimise' (text), allowed: 'minimize' or 'maximize'",
        ),
        (
            {"tune.pruner": "hyperband"},
            "tune.pruner: found hyperband with tune.mode pareto and fvu, gini, allowed: none",
        ),
        (
            {
                "tune.mode": "single",
                "tune.pruner": "median",
                "tune.objectives": {"probe": "maximize"},
            },
            "tune.pruner: found median with tune.mode single and probe, allowed: none;",
        ),
        (
            {"tune.constraints": ["dead_share < 3"]},
            "tune.constraints: found 'dead_share < 3', allowed: METRIC <= NUMBER or METRIC >=",
        ),
        (
            {"tune.constraints": ["dead_share <= nan"]},
            "tune.constraints: found 'nan' in 'dead_share <= nan', allowed: a number",
        ),
        (
            {"tune.constraints": ["fvu <= 0.3", "fvu <= 0.2"]},
            "tune.constraints: found ['fvu <= 0.3', 'fvu <= 0.2'], which bounds a metric twice",
        ),
        (
            {"tune.choose": "nee"},
            "tune.choose: found 'nee', allowed: knee, or best METRIC where BOUND (and BOUND), such",
        ),
        (
            {"tune.choose": "best gnii where fvu <= 0.2"},
            "tune.choose: found best gnii, allowed: one of tune.objectives, fvu, gini. Did",
        ),
        ({"tune.seeds": 1}, "tune.seeds: found 1, allowed: 0, or 2 to 100, since one seed"),
        (
            {"tune.objectives": {"rho_hat_distance": "minimize", "fvu": "minimize"}, **RELU},
            "tune: found the metric rho_hat_distance with penalty.kind l1_code, which has no rho",
        ),
    ],
)
def test_impossible_search_is_refused(changes: dict[str, Any], fault: str) -> None:
    assert fault in refusal(changes)


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"tune.objectives": {"fuv": "minimize", "gini": "maximize"}}, "fvu"),
        ({"tune.constraints": ["dead <= 3"]}, "dead_units"),
        ({"tune.choose": "best gini where l0_at_.1 <= 4"}, "l0_at_0.1"),
        # The name of version 0.1.
        ({"tune.constraints": ["l0@0.1 <= 4"]}, "l0_at_0.1"),
    ],
)
def test_unknown_metric_gets_the_nearest(changes: dict[str, Any], near: str) -> None:
    fault = refusal(changes)
    assert "found the metric" in fault
    assert fault.endswith(f"Did you mean {near}?")


def test_combination_that_no_choice_fits_is_left_to_its_trial() -> None:
    accepted({"tune.space": {"model.code_activation": {"choices": ["sigmoid", "relu"]}}})


def test_bounds_and_rule_are_read() -> None:
    tune = accepted(
        {
            "tune.objectives": TWO,
            "tune.constraints": ["dead_share <= 0.05", "gini>=0.4"],
            "tune.choose": "best gini where fvu <= 0.25 and l0_at_0.1 <= 12",
        }
    ).tune
    assert tune.bounds == [Bound("dead_share", True, 0.05), Bound("gini", False, 0.4)]
    assert tune.rule == Rule("gini", (Bound("fvu", True, 0.25), Bound("l0_at_0.1", True, 12.0)))
    assert tune.metrics == ["fvu", "gini", "dead_share", "l0_at_0.1"]
    assert tune.bounds[1].excess(0.3) == pytest.approx(0.1)
    assert tune.bounds[0].excess(0.04) == pytest.approx(-0.01)


def test_metrics_are_those_of_a_training_and_two_more() -> None:
    import torch

    sparsity = SparsityAccumulator(l0_thresholds=(0.1, 0.5), dead_threshold=0.1, constant_std=0.01)
    sparsity.update(torch.rand(4, 3))
    with_rho = sparsity.statistics().as_metrics(0.1)
    expected = {"loss", "mse", "penalty", "fvu", *with_rho, "dead_share", "probe"}
    assert set(METRICS) == expected
    assert set(with_rho) - set(sparsity.statistics().as_metrics(None)) == set(NEED_RHO)
