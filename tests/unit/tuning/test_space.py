"""What is drawn for a trial, and what it becomes in the parameters."""

from typing import Any

import optuna
import pytest

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.tuning.sampler import NumberedTPE, pruner_of
from rhobeta.tuning.space import suggest, values_of

SPACE: dict[str, Any] = {
    "penalty.rho": {"low": 0.01, "high": 0.5, "log": True},
    "training.epochs": {"low": 2, "high": 200, "log": True},
    "model.hidden_sizes": {"choices": [[16], [64, 32]]},
    "model.tied_weights": {"choices": [True, False]},
}


def searching(space: dict[str, Any], **changes: Any) -> Params:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return check_params(with_changes({"tune.space": space} | named), where="test")


def drawn(params: Params, trials: int, seed: int = 0) -> tuple[list[Any], list[Any]]:
    study = optuna.create_study(sampler=NumberedTPE(seed, startup_trials=3))
    values = []
    for _ in range(trials):
        trial = study.ask()
        values.append(suggest(trial, params, seed=False))
        study.tell(trial, values[-1].get("penalty.rho", 0.0))
    return values, study.get_trials()


def test_values_keep_their_kinds_and_bounds_and_are_short() -> None:
    values, stored = drawn(searching(SPACE), 30)
    for each, trial in zip(values, stored, strict=True):
        assert isinstance(each["training.epochs"], int)
        assert 2 <= each["training.epochs"] <= 200
        assert 0.01 <= each["penalty.rho"] <= 0.5
        assert each["penalty.rho"] == float(f"{each['penalty.rho']:.4g}")
        assert values_of(trial) == each
        # Optuna's dashboard and the user's own code see what was trained.
        assert trial.params["penalty.rho"] == each["penalty.rho"]
    assert {str(each["model.hidden_sizes"]) for each in values} == {"[16]", "[64, 32]"}
    assert {each["model.tied_weights"] for each in values} == {True, False}
    small = [each["penalty.rho"] for each in values if each["penalty.rho"] < 0.07]
    # Log scale: half of the search is below the geometric mean of its ends.
    assert 6 <= len(small) <= 26


def test_rounding_never_leaves_the_bounds() -> None:
    space = {"penalty.rho": {"low": 0.123456, "high": 0.123457}}
    values, _ = drawn(searching(space), 5)
    assert all(0.123456 <= each["penalty.rho"] <= 0.123457 for each in values)


def test_a_draw_depends_on_the_trial_number_and_the_results() -> None:
    params = searching(SPACE)
    first, _ = drawn(params, 6)
    again, _ = drawn(params, 6)
    assert first == again
    assert len({str(each) for each in first}) == 6
    other, _ = drawn(params, 6, seed=1)
    assert first[0] != other[0]


@pytest.mark.parametrize(
    ("pruner", "kind"),
    [
        ("none", optuna.pruners.NopPruner),
        ("median", optuna.pruners.MedianPruner),
        ("halving", optuna.pruners.SuccessiveHalvingPruner),
        ("hyperband", optuna.pruners.HyperbandPruner),
    ],
)
def test_each_pruner_ends_a_hopeless_trial_or_none_does(pruner: str, kind: type) -> None:
    single = {"tune.mode": "single", "tune.objectives": {"fvu": "minimize"}}
    params = check_params(with_changes(single | {"tune.pruner": pruner}), where="test")
    assert isinstance(pruner_of(params), kind)
    study = optuna.create_study(pruner=pruner_of(params))
    ended = 0
    for number in range(30):
        trial = study.ask()
        for epoch in range(1, 51):
            trial.report(float(number), epoch)
            if trial.should_prune():
                ended += 1
                break
        study.tell(trial, float(number))
    assert (ended > 10) is (pruner != "none")
