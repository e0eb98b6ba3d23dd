"""Means of sets of images, and over time: their values, and where their gradients come from."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rhobeta.model.means import (
    LogMeans,
    Mean,
    Means,
    RunningMean,
    detached,
    joined,
    running_share,
    with_gradient,
)
from rhobeta.model.penalties import bernoulli_kl, log_means, poisson_kl

RHO = 0.05


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def mean(z: Tensor) -> Mean:
    return Mean(torch.relu(z).mean(0))


def close(found: Means, expected: Means) -> None:
    assert type(found) is type(expected)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("of", [log_means, mean], ids=["log means", "mean"])
@pytest.mark.parametrize(("first", "second"), [(1, 1), (7, 3), (2, 90), (64, 1)])
def test_joined_is_the_mean_of_both_sets_together(of, first: int, second: int) -> None:
    z = normal(first + second, 5)
    found = joined(of(z[:first]), of(z[first:]), second / (first + second))
    close(found, of(z))


def test_joined_log_means_are_finite_for_inactive_units() -> None:
    silent, other = log_means(torch.full((3, 1), -800.0)), log_means(torch.zeros(1, 1))
    found = joined(silent, other, 0.25)
    assert found[0].item() == pytest.approx(math.log(0.125), rel=1e-6)
    assert found[1].item() == pytest.approx(math.log(0.875), rel=1e-6)


def test_the_whole_share_is_the_second_alone() -> None:
    second = log_means(normal(3, 2))
    assert joined(log_means(normal(4, 2, seed=1)), second, 1) is second


def test_means_of_different_kinds_are_not_joined() -> None:
    with pytest.raises(TypeError, match="Mean and a LogMeans"):
        joined(mean(normal(2, 2)), log_means(normal(2, 2)), 0.5)


@pytest.mark.parametrize("of", [log_means, mean], ids=["log means", "mean"])
def test_with_gradient_has_the_value_of_the_one(of) -> None:
    running, batch = of(normal(50, 4)), of(normal(8, 4, seed=1).requires_grad_())
    close(detached(with_gradient(running, batch)), running)


def test_gradient_of_a_running_kl():
    q = torch.sigmoid(normal(50, 4)).mean(0)
    z = normal(8, 4, seed=1).requires_grad_()
    running = LogMeans(torch.log(q), torch.log(1 - q))
    kl = bernoulli_kl(with_gradient(running, log_means(z)), RHO).sum()
    (found,) = torch.autograd.grad(kl, z)
    # d KL / d q = (1 - rho) / (1 - q) - rho / q, and d q_batch / d z = a (1 - a) / B.
    a = torch.sigmoid(z.detach())
    expected = ((1 - RHO) / (1 - q) - RHO / q) * a * (1 - a) / 8
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-15)


def test_gradient_of_a_running_poisson_kl() -> None:
    q = torch.relu(normal(50, 4)).mean(0)
    z = normal(8, 4, seed=1).requires_grad_()
    kl = poisson_kl(with_gradient(Mean(q), mean(z)).value, RHO).sum()
    (found,) = torch.autograd.grad(kl, z)
    expected = (1 - RHO / q) * (z.detach() > 0) / 8
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.8])
def test_the_running_mean_is_the_recursion(share: float) -> None:
    running, q = RunningMean(share), np.zeros(3)
    for number in range(1, 30):
        z = normal(5, 3, seed=number)
        batch = 1 / (1 + np.exp(-z.numpy()))
        weight = max(share, 1 / number)
        q = (1 - weight) * q + weight * batch.mean(0)
        found = running.update(log_means(z))
        np.testing.assert_allclose(found[0].numpy(), np.log(q), rtol=1e-10)
        np.testing.assert_allclose(found[1].numpy(), np.log(1 - q), rtol=1e-10)


def test_the_first_batch_counts_in_full_and_early_ones_evenly() -> None:
    running = RunningMean(0.1)
    seen = [torch.tensor([value]) for value in (3.0, 5.0, 10.0)]
    found = [running.update(Mean(value))[0].item() for value in seen]
    assert found == pytest.approx([3, 4, 6])


def test_a_share_of_one_is_the_batch_itself() -> None:
    running = RunningMean(1.0)
    for seed in range(3):
        batch = log_means(normal(4, 2, seed=seed))
        assert running.update(batch) is batch


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, math.nan])
def test_other_shares_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 1\]"):
        RunningMean(share)


@pytest.mark.parametrize(
    ("rho", "batch_size", "share"),
    [
        # Enough: rho * batch is 10 or more.
        (0.05, 200, 1.0),
        (0.5, 4096, 1.0),
        # Two, four and 25 batches hold as many active images as are enough: 2 / (T + 1).
        (0.05, 100, 2 / 3),
        (0.25, 10, 2 / 5),
        (0.05, 8, 2 / 26),
    ],
)
def test_running_shares_by_hand(rho: float, batch_size: int, share: float) -> None:
    assert running_share(rho, batch_size, 10) == pytest.approx(share)


def test_running_share_has_the_variance_of_enough_batches() -> None:
    # T = 5 batches: the variance of independent values of variance 1 is 1/5.
    share = running_share(0.05, 40, 10)
    running = RunningMean(share)
    values = normal(8000, 1, seed=3) / 2
    seen = torch.stack([running.update(Mean(value))[0] for value in values])[100:]
    assert seen.var().item() == pytest.approx(1 / 5, rel=0.1)


def test_running_mean_removes_bias_of_small_batches() -> None:
    # Fixed logits with noise, of a population whose mean activations surround rho.
    batch, steps = 8, 2000
    base = torch.linspace(-4.5, -2.5, 5, dtype=torch.float64)
    z = base + normal(steps * batch, 5)
    truth = bernoulli_kl(log_means(z), RHO)
    running = RunningMean(running_share(RHO, batch, 10))
    plain, smooth = [], []
    for piece in torch.split(z, batch):
        plain.append(bernoulli_kl(log_means(piece), RHO))
        smooth.append(bernoulli_kl(running.update(log_means(piece)), RHO))
    bias = torch.stack(plain).mean(0) - truth
    rest = torch.stack(smooth).mean(0) - truth
    assert (bias > 0.009).all()
    assert (rest.abs() < 0.15 * bias).all()
