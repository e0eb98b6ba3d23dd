"""Beta from step to step: warm-up, control towards a target, and what is said of a missed one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from helpers.fitting import PARAMS, changed, fitted, history_of
from rhobeta.data.batches import Chunk
from rhobeta.data.samples import Samples
from rhobeta.training.process_group import ProcessGroup
from rhobeta.training.sparsity_control import BetaControl, missed_target
from rhobeta.training.steps import new_steps

EPOCHS = 50


def control(**changes: Any) -> BetaControl:
    """Thirty epochs of 100 steps: control from step 100 on, frozen from step 2,700 on."""
    asked = {"beta": 0.5, "target": 0.1, "target_above": None, "warmup": 0.0} | changes
    return BetaControl(SimpleNamespace(**asked), units=20, steps_per_epoch=100, epochs=30)


def test_control_moves_beta_by_a_hundredth_of_the_log_ratio() -> None:
    found = control()
    for step in range(3000):
        before = found.beta(step)
        found.update(step, 0.11)
        moved = 1.1**0.01 if 100 <= step < 2700 else 1
        assert found.beta(step + 1) == pytest.approx(before * moved, rel=1e-12)


def test_l0_target_is_a_share_of_the_units() -> None:
    found = control(target=4, target_above=0.1)
    found.update(100, 4 / 20)  # The share of active units.
    assert found.beta(101) == pytest.approx(0.5)
    assert found.as_metrics(101) == {"beta": pytest.approx(0.5), "activity": pytest.approx(4)}


def test_control_begins_after_the_warm_up() -> None:
    found = control(warmup=0.2)
    for step in range(600):
        found.update(step, 0.9)
    assert [found.beta(step) for step in (0, 299, 599)] == pytest.approx([0.5 / 600, 0.25, 0.5])
    found.update(600, 0.9)
    assert found.beta(601) > 0.5


@pytest.mark.parametrize(("activity", "bound"), [(0.0, 1e-9), (0.999, 1e3)])
def test_beta_stays_within_bounds(activity: float, bound: float) -> None:
    found = BetaControl(
        SimpleNamespace(beta="auto", target=1e-3, target_above=None, warmup=0.0),
        units=20,
        steps_per_epoch=100,
        epochs=100,
    )
    for step in range(8000):
        found.update(step, activity)
    assert found.beta(8000) == pytest.approx(bound)


def test_activity_that_is_not_measured_moves_beta_by_the_last() -> None:
    found = control()
    found.update(99, 0.2)
    found.update(100, None)
    assert found.beta(101) == pytest.approx(0.5 * 2**0.01)


def test_state_comes_back() -> None:
    found, again = control(), control()
    for step in range(500):
        found.update(step, 0.3)
    again.load_state_dict(found.state_dict())
    for each in (found, again):
        each.update(500, 0.05)
    assert again.beta(501) == found.beta(501) != 0.5


def test_a_missed_target_names_the_nearest_epoch() -> None:
    penalty = SimpleNamespace(target=0.1, target_above=None)
    history = [
        {"beta": beta, "activity": 9.0, "validation/rho_hat_mean": mean}
        for beta, mean in ((0.1, 0.5), (0.2, 0.15), (0.3, 0.3))
    ]
    text = missed_target(penalty, {"validation/rho_hat_mean": 0.3, "beta": 0.3}, history)
    assert text is not None
    assert "the kept weights have 0.3 (rho_hat_mean) at beta = 0.3" in text
    assert "Nearest was 0.15 in epoch 2 at beta = 0.2" in text
    reached = {"validation/rho_hat_mean": 0.1019, "beta": 0.3}
    assert missed_target(penalty, reached, history) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({"penalty__target": 0.2}, "rho_hat_mean"),
        ({"penalty__target": 5.0, "penalty__target_above": 0.3}, "l0_at_0.3"),
        ({"penalty__target": 0.2, "training__noise": 0.3}, "rho_hat_mean"),
    ],
    ids=["mean", "l0", "noise"],
)
def test_a_target_is_reached_on_the_validation_split(
    changes: dict[str, Any], metric: str, digits: Samples
) -> None:
    params = changed(PARAMS, training__epochs=EPOCHS, training__weight_decay=0.0, **changes)
    # The same images: two splits of so few differ by more than two per cent in their activity.
    found = fitted(digits, digits, params)
    assert found.sparsity[f"validation/{metric}"] == pytest.approx(params.penalty.target, rel=0.02)
    assert found.missed_target is None
    betas = history_of(found)["beta"]
    # Frozen in the last tenth: the epochs that compare.
    assert len(set(betas[-EPOCHS // 10 :])) == 1
    assert len(set(betas)) > EPOCHS // 2
    assert found.best_epoch > EPOCHS * 0.89


def test_an_unreachable_target_is_said(train: Samples, validation: Samples) -> None:
    found = fitted(train, validation, penalty__target=0.9)
    assert found.missed_target is not None
    assert found.missed_target.startswith("The target 0.9 was not reached: the kept weights have")


def test_units_that_noise_alone_activates_are_dead() -> None:
    params = changed(
        PARAMS,
        model__hidden_sizes=[2],
        model__code_activation="topk",
        penalty__kind="none",
        topk__k=1,
        topk__start=1,
        topk__auxk_coef=0.5,
        training__noise=2.0,
        training__batch_size=4,
        training__learning_rate=1e-9,
    )
    steps = new_steps(params, (2,), torch.zeros(2), images=64)
    weights = {"encoder.0.weight": torch.eye(2), "encoder.0.bias": torch.tensor([0.5, 0.0])}
    steps.autoencoder.load_state_dict(steps.autoencoder.state_dict() | weights)
    x = torch.full((64, 2), 0.5)
    noisy = steps.autoencoder.encode(x + 2 * torch.randn(64, 2))
    assert (noisy > 0).any(0).tolist() == [True, True]
    steps.start(torch.device("cpu"), ProcessGroup())
    steps.start_epoch()
    optimizer = steps.new_optimizer()
    steps.take(Chunk(x, rows=(4,) * 16, sizes=(4,) * 16), 0, optimizer)
    # Two of the sixteen mini-batches were encoded without noise.
    assert steps.state_dict()["dead_units"]["images_since"].tolist() == [0, 8]
