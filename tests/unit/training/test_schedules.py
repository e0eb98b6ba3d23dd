"""The learning rate and k from step to step, worked out by hand."""

import math

import pytest

from rhobeta.config.sections import TopKParams
from rhobeta.training.schedules import annealed_k, lr_factor


def topk(k: int, start: int, anneal: float) -> TopKParams:
    return TopKParams(k=k, start=start, anneal=anneal, auxk_coef=0)


@pytest.mark.parametrize(
    ("anneal", "expected"),
    [
        # From 10 to 4 over 8 of 8 steps: 10, 9.25, 8.5, 7.75, 7, 6.25, 5.5, 4.75.
        (1.0, [10, 9, 8, 8, 7, 6, 6, 5]),
        # Over half of them: 10, 8.5, 7, 5.5.
        (0.5, [10, 8, 7, 6, 4, 4, 4, 4]),
        # Over an eighth, one step.
        (0.125, [10, 4, 4, 4, 4, 4, 4, 4]),
        (0.0, [4] * 8),
    ],
)
def test_k_falls_linearly_over_its_fraction_of_steps(anneal: float, expected: list[int]) -> None:
    assert [annealed_k(step, 8, topk(4, 10, anneal)) for step in range(8)] == expected


@pytest.mark.parametrize(("steps", "start"), [(1, 6), (7, 64), (100, 5)])
@pytest.mark.parametrize("anneal", [0.0, 0.01, 1.0])
def test_k_starts_at_start_and_ends_at_k(steps: int, anneal: float, start: int) -> None:
    course = [annealed_k(step, steps, topk(5, start, anneal)) for step in range(steps + 1)]
    assert course[0] == (start if anneal > 0 else 5)
    assert course == sorted(course, reverse=True)
    assert course[-1] == 5


def test_a_constant_rate_is_constant() -> None:
    assert {lr_factor(step, 10, 3, "constant") for step in range(30)} == {1}


def test_cosine_rates_by_hand() -> None:
    # Two epochs of four steps: a quarter, a half, ... of half a cosine over eight steps.
    rates = [lr_factor(step, 4, 2, "cosine") for step in range(8)]
    cosines = [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    warmup = [0.25, 0.5, 0.75, 1, 1, 1, 1, 1]
    assert rates == pytest.approx([w * c for w, c in zip(warmup, cosines, strict=True)])


@pytest.mark.parametrize(("steps", "epochs"), [(1, 2), (7, 3), (211, 50)])
def test_cosine_rates_fall_after_warmup_to_near_zero(steps: int, epochs: int) -> None:
    rates = [lr_factor(step, steps, epochs, "cosine") for step in range(steps * epochs)]
    assert all(0 < rate <= 1 for rate in rates)
    after = rates[steps - 1 :]
    assert after == sorted(after, reverse=True)
    # One step before the end, sin^2 of half a step's fraction of pi.
    assert rates[-1] == pytest.approx(math.sin(math.pi / (2 * steps * epochs)) ** 2)


def test_a_single_epoch_has_no_warmup() -> None:
    rates = [lr_factor(step, 10, 1, "cosine") for step in range(10)]
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
