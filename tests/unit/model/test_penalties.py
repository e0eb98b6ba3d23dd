"""The penalty against its textbook form, and where the textbook form fails."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.model.activations import ACTIVITY_LOGITS
from rhobeta.model.means import LogMeans
from rhobeta.model.penalties import (
    SMALLEST_MEAN,
    bernoulli_kl,
    l1_code,
    l1_weights,
    log_means,
    log_means_of_activity,
    poisson_kl,
    tutorial_kl,
    widened,
)

SHAPES = [(1, 1), (1, 7), (2, 3), (64, 5), (257, 10)]


def normal(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=generator, dtype=torch.float64)


def logit(q: float) -> float:
    return math.log(q / (1 - q))


def kl(z: Tensor, rho: float | Tensor) -> Tensor:
    return bernoulli_kl(log_means(z), rho)


def naive_kl(z: NDArray[np.float64], rho: float) -> NDArray[np.float64]:
    q = (1 / (1 + np.exp(-z))).mean(0)
    return rho * np.log(rho / q) + (1 - rho) * np.log((1 - rho) / (1 - q))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rho", [0.01, 0.05, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_kl_equals_the_textbook_form_on_ordinary_logits(
    shape: tuple[int, int], rho: float, seed: int
) -> None:
    z = normal(*shape, seed=seed)
    np.testing.assert_allclose(kl(z, rho).numpy(), naive_kl(z.numpy(), rho), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_means_are_logarithms_of_means_of_activity(
    shape: tuple[int, int],
) -> None:
    z = normal(*shape)
    q = torch.sigmoid(z).mean(0)
    torch.testing.assert_close(log_means(z).log_q, q.log(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_means(z).log_not_q, (1 - q).log(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("activations", "rho", "expected"),
    [
        # q = 1/2: 1/5 log 2/5 + 4/5 log 8/5
        ([0.5], 0.2, 0.2 * math.log(0.4) + 0.8 * math.log(1.6)),
        ([0.1, 0.9], 0.2, 0.2 * math.log(0.4) + 0.8 * math.log(1.6)),
        # q = 1/4: 1/2 log 2 + 1/2 log 2/3
        ([0.25, 0.25, 0.25], 0.5, 0.5 * math.log(4 / 3)),
        # q = (0.1 + 0.2 + 0.6) / 3 = 0.3
        ([0.1, 0.2, 0.6], 0.6, 0.6 * math.log(2) + 0.4 * math.log(4 / 7)),
    ],
)
def test_worked_examples(activations: list[float], rho: float, expected: float) -> None:
    z = torch.tensor([[logit(a)] for a in activations], dtype=torch.float64)
    assert kl(z, rho).item() == pytest.approx(expected, rel=1e-12)


def test_the_mean_is_over_the_batch_not_over_the_units() -> None:
    constant_units = torch.tensor([[0.9, 0.1], [0.9, 0.1]], dtype=torch.float64).logit()
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert kl(constant_units, 0.5).tolist() == pytest.approx([expected, expected], rel=1e-12)
    # The same numbers the other way round: both units are active half the time.
    assert kl(constant_units.T, 0.5).tolist() == pytest.approx([0, 0], abs=1e-15)


@pytest.mark.parametrize("rho", [0.01, 0.2, 0.5, 0.97])
@pytest.mark.parametrize("batch", [1, 5])
def test_kl_is_zero_where_the_mean_is_rho(rho: float, batch: int) -> None:
    z = torch.full((batch, 3), logit(rho), dtype=torch.float64)
    assert kl(z, rho).tolist() == pytest.approx([0, 0, 0], abs=1e-14)


@pytest.mark.parametrize("rho", [0.01, 0.2, 0.5, 0.97])
def test_kl_is_at_least_twice_the_squared_distance_of_the_means(rho: float) -> None:
    # Pinsker's inequality, which makes it nonnegative, and zero at q = rho alone.
    q = torch.linspace(0.001, 0.999, 333, dtype=torch.float64)
    assert (kl(q.logit()[None], rho) >= 2 * (q - rho).square() - 1e-14).all()


@pytest.mark.parametrize("rho", [0.03, 0.25, 0.8])
def test_kl_is_symmetric_in_active_and_inactive(rho: float) -> None:
    z = normal(40, 6)
    torch.testing.assert_close(kl(z, rho), kl(-z, 1 - rho), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("code_activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("batch", [1, 4])
def test_gradient_is_that_of_the_function(code_activation: str, batch: int) -> None:
    z = normal(batch, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: kl(ACTIVITY_LOGITS[code_activation](v), 0.05), (z,))


@pytest.mark.parametrize("z", [-120.0, -60.0, 60.0, 120.0])
@pytest.mark.parametrize("batch", [1, 4])
def test_gradient_survives_where_the_epsilon_form_has_none(z: float, batch: int) -> None:
    rho = 0.05
    logits = torch.full((batch, 2), z, requires_grad=True)
    penalty = kl(logits, rho)
    penalty.sum().backward()
    # With all logits of a unit equal, dKL/dz is (q - rho) / batch, and q is 0 or 1 here.
    expected = ((z > 0) - rho) / batch
    torch.testing.assert_close(logits.grad, torch.full((batch, 2), expected))
    entropy = rho * math.log(rho) + (1 - rho) * math.log(1 - rho)
    surprise = (1 - rho) * z if z > 0 else -rho * z
    torch.testing.assert_close(penalty, torch.full((2,), entropy + surprise))

    hidden = torch.full((batch, 2), z, requires_grad=True)
    q = torch.sigmoid(hidden).mean(0).clamp(1e-6, 1 - 1e-6)
    (rho * torch.log(rho / q) + (1 - rho) * torch.log((1 - rho) / (1 - q))).sum().backward()
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_one_active_sample_among_inactive_ones_counts() -> None:
    z = torch.tensor([[-120.0], [-120.0], [-120.0], [120.0]], dtype=torch.float32)
    # Its mean activation is 1/4.
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert kl(z, 0.5).item() == pytest.approx(expected, rel=1e-6)
    assert kl(z, 0.25).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    z = normal(300, 4).to(dtype)
    assert kl(z, 0.05).dtype == torch.float32
    assert torch.equal(kl(z, 0.05), kl(z.float(), 0.05))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_other_precisions_are_kept(dtype: torch.dtype) -> None:
    assert kl(normal(5, 2).to(dtype), 0.05).dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rho_may_be_a_tensor_of_any_precision(dtype: torch.dtype) -> None:
    z = normal(20, 4).to(dtype)
    assert torch.equal(kl(z, torch.tensor(0.05, dtype=torch.float64)), kl(z, 0.05))


def test_gradient_reaches_rho() -> None:
    z = normal(20, 4)
    rho = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    kl(z, rho).sum().backward()
    # dKL/drho = logit rho - logit q
    expected = (math.log(0.1 / 0.9) - torch.sigmoid(z).mean(0).logit()).sum()
    torch.testing.assert_close(rho.grad, expected, rtol=1e-12, atol=1e-12)


def test_sigmoid_of_tanh_logits_is_its_activity() -> None:
    z = normal(6, 3)
    activity = torch.sigmoid(ACTIVITY_LOGITS["tanh"](z))
    torch.testing.assert_close(activity, (1 + torch.tanh(z)) / 2, rtol=1e-12, atol=1e-12)


RHOS = [0.01, 0.05, 0.5, 0.9]
MEANS = torch.tensor([1e-6, 0.01, 0.05, 0.3, 0.5, 0.9, 0.999], dtype=torch.float64)


@pytest.mark.parametrize("rho", RHOS)
def test_poisson_kl_is_its_textbook_form(rho: float) -> None:
    q = torch.cat([MEANS, torch.tensor([1.0, 6.5, 300.0], dtype=torch.float64)])
    expected = [rho * math.log(rho / value) - rho + value for value in q.tolist()]
    assert poisson_kl(q, rho).tolist() == pytest.approx(expected, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("rho", RHOS)
def test_poisson_kl_is_that_of_poisson_distributions(rho: float) -> None:
    # sum over counts of p log(p / r), of all counts that matter.
    counts = np.arange(80)
    log_factorial = np.array([math.lgamma(count + 1) for count in counts])
    p = counts * math.log(rho) - rho - log_factorial
    for q in (0.02, 0.7, 4.0):
        r = counts * math.log(q) - q - log_factorial
        found = poisson_kl(torch.tensor([q], dtype=torch.float64), rho).item()
        assert found == pytest.approx(float((np.exp(p) * (p - r)).sum()), rel=1e-10)


@pytest.mark.parametrize("rho", RHOS)
def test_tutorial_kl_is_the_bernoulli_form_of_a_plain_mean(rho: float) -> None:
    expected = [
        rho * math.log(rho / q) + (1 - rho) * math.log((1 - rho) / (1 - q)) for q in MEANS.tolist()
    ]
    assert tutorial_kl(MEANS, rho).tolist() == pytest.approx(expected, rel=1e-11, abs=1e-14)


def test_tutorial_kl_is_nan_where_the_mean_is_no_probability() -> None:
    q = torch.tensor([0.999, 1.001, 1.2, 6.5])
    assert tutorial_kl(q, 0.05).isnan().tolist() == [False, True, True, True]
    assert poisson_kl(q, 0.05).isfinite().all()


@pytest.mark.parametrize("kind", [poisson_kl, tutorial_kl])
@pytest.mark.parametrize("rho", RHOS)
def test_kls_of_plain_means_are_zero_at_rho_and_above_elsewhere(kind, rho: float) -> None:
    assert kind(torch.full((2,), rho, dtype=torch.float64), rho).abs().max() < 1e-15
    others = MEANS[(MEANS - rho).abs() > 1e-9]
    assert (kind(others, rho) > 0).all()


@pytest.mark.parametrize("kind", [poisson_kl, tutorial_kl])
def test_kls_of_an_inactive_unit_are_finite(kind) -> None:
    q = torch.zeros(3, requires_grad=True)
    penalty = kind(q, 0.05)
    assert penalty.isfinite().all()
    # As if its mean were 1e-10.
    assert torch.equal(penalty, kind(torch.full((3,), SMALLEST_MEAN), 0.05) + 0 * q)
    penalty.sum().backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


@pytest.mark.parametrize("kind", [poisson_kl, tutorial_kl])
def test_gradients_of_plain_means_are_those_of_the_functions(kind) -> None:
    q = torch.tensor([0.01, 0.05, 0.4, 0.8], dtype=torch.float64, requires_grad=True)
    rho = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(kind, (q, rho))


def test_bernoulli_kl_tends_to_poisson_kl_for_small_means() -> None:
    ratios = torch.tensor([0.2, 0.7, 1.5, 4.0], dtype=torch.float64)
    differences = []
    for rho in (1e-2, 1e-3, 1e-4, 1e-5):
        q = rho * ratios
        bernoulli = bernoulli_kl(LogMeans(torch.log(q), torch.log1p(-q)), rho)
        differences.append((poisson_kl(q, rho) / bernoulli - 1).abs().max().item())
    # It differs by a share of the order of rho.
    for larger, smaller in pairwise(differences):
        assert smaller == pytest.approx(larger / 10, rel=0.1)


def test_l1_of_a_code_is_a_sum_over_units_for_each_image() -> None:
    code = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.25, -0.125]], requires_grad=True)
    penalty = l1_code(code)
    assert penalty.tolist() == [3.0, 0.875]
    penalty.sum().backward()
    assert code.grad is not None
    assert code.grad.tolist() == [[1, -1, 0], [1, 1, -1]]


def test_l1_weights_is_a_sum_over_its_weights() -> None:
    assert l1_weights(torch.tensor([[1.0, -2.0], [0.5, 0.0], [-0.25, 4.0]])).item() == 7.75


@pytest.mark.parametrize("shape", SHAPES)
def test_log_means_of_activities_are_those_of_their_logits(shape: tuple[int, int]) -> None:
    z = normal(*shape)
    found = log_means_of_activity(torch.sigmoid(z))
    for a, b in zip(found, log_means(z), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


def test_log_means_of_constant_units_are_finite() -> None:
    activity = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    log_q, log_not_q = log_means_of_activity(activity)
    assert log_q.tolist() == pytest.approx([math.log(1e-10), 0])
    assert log_not_q.tolist() == pytest.approx([0, math.log(1e-10)])
    bernoulli_kl(LogMeans(log_q, log_not_q), 0.05).sum().backward()
    assert activity.grad is not None
    assert activity.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_activities_in_half_precision_are_widened(dtype: torch.dtype) -> None:
    activity = torch.sigmoid(normal(300, 4)).to(dtype)
    found = log_means_of_activity(activity)
    assert found.log_q.dtype == torch.float32
    for a, b in zip(found, log_means_of_activity(activity.float()), strict=True):
        assert torch.equal(a, b)
    assert widened(activity).dtype == torch.float32
    assert widened(activity.double()).dtype == torch.float64
