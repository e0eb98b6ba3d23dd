"""What is drawn for a trial, and what it becomes in the parameters."""

from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.errors import RhobetaError
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
    params = searching(SPACE)
    values, stored = drawn(params, 30)
    for each, trial in zip(values, stored, strict=True):
        assert isinstance(each["training.epochs"], int)
        assert 2 <= each["training.epochs"] <= 200
        assert 0.01 <= each["penalty.rho"] <= 0.5
        assert each["penalty.rho"] == float(f"{each['penalty.rho']:.4g}")
        assert values_of(trial, params, seed=False) == each
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


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"penalty.rho": 0.7}, "penalty.rho 0.7, expected: 0.01 to 0.5"),
        ({"penalty.rho": float("nan")}, "penalty.rho nan"),
        ({"penalty.rho": "0.1"}, r"penalty.rho '0.1'"),
        ({"penalty.rho": True}, "penalty.rho True"),
        ({"training.epochs": 2.5}, "training.epochs 2.5, expected: 2 to 200"),
        ({"model.hidden_sizes": "json:[9]"}, r"'json:\[9\]', expected: one of \[\[16\]"),
        ({"model.tied_weights": 1}, "model.tied_weights 1, expected"),
        ({"registry.thresholds": "json:[]"}, "values of .*registry.thresholds.* expected: of"),
        ({"training.seed": 1}, "values of .*training.seed"),
        ({"model.tied_weights": None}, "values of model.hidden_sizes, penalty.rho, training"),
    ],
)
def test_values_outside_of_the_space_are_refused(values: dict[str, Any], told: str) -> None:
    good: dict[str, Any] = {
        "penalty.rho": 0.1,
        "training.epochs": 3,
        "model.hidden_sizes": "json:[16]",
        "model.tied_weights": True,
    }
    stored = {path: value for path, value in (good | values).items() if value is not None}
    written = optuna.trial.create_trial(
        params=stored,
        distributions={path: CategoricalDistribution([value]) for path, value in stored.items()},
        value=0.0,
    )
    with pytest.raises(RhobetaError, match=told):
        values_of(written, searching(SPACE), seed=False)


def test_a_queued_value_outside_of_the_space_is_refused() -> None:
    study = optuna.create_study()
    study.enqueue_trial({"penalty.rho": 0.7})
    with (
        pytest.warns(UserWarning, match="out of range"),
        pytest.raises(RhobetaError, match=r"trial 0 has penalty\.rho 0\.7"),
    ):
        suggest(study.ask(), searching(SPACE), seed=False)


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
