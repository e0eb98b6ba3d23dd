"""What the section `tune` may hold, and how a search that cannot be is refused."""

from typing import Any

import pytest

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.config.tuning_section import METRICS, NEED_RHO, Bound, Rule, parse_bound
from rhobeta.errors import RhobetaError
from rhobeta.metrics.sparsity import SparsityAccumulator
from rhobeta.training.measurement import CONSTANT_STD, DEAD_THRESHOLD, L0_THRESHOLDS

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
            "tune.space.penalty.rh: unknown parameter. Did you mean penalty.rho?",
        ),
        (
            space("rho", low=0.1, high=0.2),
            "tune.space.rho: unknown parameter. Did you mean penalty.rho?",
        ),
        (
            space("data.seed", low=0, high=2),
            "tune.space.data.seed: the search cannot change it, since a model does not depend on"
            " it; allowed: parameters of model, penalty, topk, training",
        ),
        (
            space("training.seed", low=0, high=2),
            "tune.space.training.seed: the search cannot change it, since a lucky seed is no"
            " setting; tune.seeds repeats the trainings on the front with several",
        ),
        (
            space("penalty.rho", low=0.3, high=0.2),
            "tune.space.penalty.rho: found low 0.3 and high 0.2, allowed: low below high",
        ),
        (
            space("penalty.rho", low=0.2, high=0.2),
            "tune.space.penalty.rho: found low 0.2 and high 0.2, allowed: low below high",
        ),
        (
            space("penalty.rho", low=0.1, high=2),
            "tune.space.penalty.rho.high: found 2, allowed: a number above 0 and below 1",
        ),
        (
            space("penalty.rho", low=0.0, high=0.5),
            "tune.space.penalty.rho.low: found 0.0, allowed: a number above 0 and below 1",
        ),
        (
            space("penalty.beta", low=0, high=2, log=True),
            "tune.space.penalty.beta: found log true with low 0, allowed: low above 0, where a"
            " logarithm exists",
        ),
        (
            space("training.epochs", low=1.5, high=20),
            "tune.space.training.epochs.low: found 1.5, allowed: a whole number at least 1 and at"
            " most 100000",
        ),
        (
            space("penalty.rho", low="a", high=0.2),
            "tune.space.penalty.rho.low: found 'a' (text), allowed: a whole number or a number",
        ),
        (
            space("penalty.rho", lo=0.1, high=0.2),
            "tune.space.penalty.rho.lo: unknown key. Did you mean tune.space.penalty.rho.low?",
        ),
        (
            space("penalty.rho", high=0.2),
            "tune.space.penalty.rho: found high, allowed: low and high (and log), or choices",
        ),
        (
            space("penalty.rho", low=0.1, choices=[0.1, 0.2]),
            "tune.space.penalty.rho: found choices, low, allowed: choices alone, or low and high",
        ),
        (
            space("penalty.rho", choices=[0.1, 0.1]),
            "tune.space.penalty.rho: found the choices [0.1, 0.1], allowed: two or more, no"
            " repeats",
        ),
        (
            space("model.tied_weights", low=0, high=1),
            "tune.space.model.tied_weights.low: found 0, allowed: true or false",
        ),
        ({"tune.space": {}}, "tune.space: found an empty section, allowed: one parameter or more"),
        (
            {"tune.objectives": {"fvu": "minimize"}},
            "tune.objectives: found 1 (fvu) with tune.mode pareto, allowed: two or three; for one"
            " use tune.mode single",
        ),
        (
            {"tune.mode": "single"},
            "tune.objectives: found 2 (fvu, gini) with tune.mode single, allowed: one; for two or"
            " three use tune.mode pareto",
        ),
        (
            {"tune.objectives": {"fvu": "minimise", "gini": "maximize"}},
            "tune.objectives.fvu: found 'minimise' (text), allowed: minimize, maximize",
        ),
        (
            {"tune.pruner": "hyperband"},
            "tune.pruner: found hyperband with tune.mode pareto, allowed: none, since a trial"
            " cannot be behind in all objectives before it ends; pruning is for tune.mode single",
        ),
        (
            {
                "tune.mode": "single",
                "tune.pruner": "median",
                "tune.objectives": {"probe_accuracy": "maximize"},
            },
            "tune.pruner: found median with the objective probe_accuracy, allowed: none, since"
            " probe_accuracy is measured only after training",
        ),
        (
            {"tune.constraints": ["dead_share < 3"]},
            "tune.constraints: found 'dead_share < 3', allowed: METRIC <= NUMBER or METRIC >="
            " NUMBER, such as dead_share <= 0.05",
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
            "tune.choose: found 'nee', allowed: knee, or best METRIC where BOUND (and BOUND), such"
            " as best fvu where gini >= 0.8",
        ),
        (
            {"tune.choose": "best gnii where fvu <= 0.2"},
            "tune.choose: found best gnii, allowed: one of tune.objectives, fvu, gini. Did you mean"
            " gini?",
        ),
        (
            {"tune.seeds": 1},
            "tune.seeds: found 1, allowed: 0, or 2 to 100, since one more training tells no spread",
        ),
        (
            {"tune.objectives": {"rho_hat_distance": "minimize", "fvu": "minimize"}, **RELU},
            "tune.objectives: found rho_hat_distance with penalty.kind l1_code, which has no rho to"
            " be near to",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(changes: dict[str, Any], fault: str) -> None:
    assert refusal(changes) == fault


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"tune.objectives": {"fuv": "minimize", "gini": "maximize"}}, "fvu"),
        ({"tune.objectives": {"fvu": "minimize", "probe_acuracy": "maximize"}}, "probe_accuracy"),
        ({"tune.constraints": ["dead <= 3"]}, "dead_units"),
        ({"tune.choose": "best gini where l0_at_.1 <= 4"}, "l0_at_0.1"),
    ],
)
def test_a_metric_that_does_not_exist_is_answered_with_the_nearest(
    changes: dict[str, Any], near: str
) -> None:
    fault = refusal(changes)
    assert "found the metric" in fault
    assert fault.endswith(f"Did you mean {near}?")


def test_a_choice_that_fits_with_no_other_is_refused_and_one_that_fits_with_some_is_not() -> None:
    kinds = {"choices": ["kl", "l1_code"]}
    codes = {"choices": ["sigmoid", "relu"]}
    assert refusal({"tune.space": {"model.code_activation": codes}}).startswith(
        "tune.space.model.code_activation.choices: found relu: penalty.kind: found kl with"
    )
    accepted({"tune.space": {"model.code_activation": codes, "penalty.kind": kinds}})
    topk = {"model.code_activation": "topk", "penalty.kind": "none"}
    sizes = {"topk.k": {"low": 4, "high": 64}, "topk.start": {"low": 32, "high": 64}}
    accepted({**topk, "tune.space": sizes})
    assert "topk.k.high: found 64: topk: found k 64 and start 32" in refusal(
        {**topk, "tune.space": {"topk.k": sizes["topk.k"]}}
    )


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
    assert parse_bound("gini >= 0.4", "x").excess(0.3) == pytest.approx(0.1)
    assert parse_bound("gini <= 0.4", "x").excess(0.3) == pytest.approx(-0.1)


def test_the_metrics_are_those_that_a_training_has_and_two_more() -> None:
    import torch

    sparsity = SparsityAccumulator(
        l0_thresholds=L0_THRESHOLDS, dead_threshold=DEAD_THRESHOLD, constant_std=CONSTANT_STD
    )
    sparsity.update(torch.rand(4, 3))
    with_rho = sparsity.statistics().as_metrics(0.1)
    expected = {"loss", "mse", "penalty", "fvu", *with_rho, "dead_share", "probe_accuracy"}
    assert set(METRICS) == expected
    assert set(with_rho) - set(sparsity.statistics().as_metrics(None)) == set(NEED_RHO)
