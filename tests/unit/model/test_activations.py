"""Code activations: each by hand, and what topk keeps and lets through."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rhobeta.extensions import ACTIVATION_SPECS
from rhobeta.model.activations import ACTIVITY_LOGITS, CODE_ACTIVATIONS, topk


def normal(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", [1 / (1 + math.exp(2)), 0.5, 1 / (1 + math.exp(-3))]),
        ("tanh", [math.tanh(-2), 0, math.tanh(3)]),
        ("relu", [0, 0, 3]),
        ("identity", [-2, 0, 3]),
    ],
)
def test_activations_by_hand(name: str, expected: list[float]) -> None:
    spec = ACTIVATION_SPECS[name]
    assert not spec.takes_k
    z = torch.tensor([[-2.0, 0.0, 3.0]], dtype=torch.float64)
    assert CODE_ACTIVATIONS[name](z).tolist()[0] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", CODE_ACTIVATIONS)
def test_codes_lie_in_their_interval_and_reach_its_ends(name: str) -> None:
    spec = ACTIVATION_SPECS[name]
    z = 50 * normal(200, 6)
    code = CODE_ACTIVATIONS[name](z, 3) if spec.takes_k else CODE_ACTIVATIONS[name](z)
    assert spec.low <= code.min().item() <= max(spec.low, -50) + 1e-9
    assert min(spec.high, 50) - 1e-9 <= code.max().item() <= spec.high


@pytest.mark.parametrize("name", ACTIVITY_LOGITS)
def test_the_sigmoid_of_the_logits_is_the_activity(name: str) -> None:
    spec = ACTIVATION_SPECS[name]
    z = 3 * normal(20, 4)
    activity = (CODE_ACTIVATIONS[name](z) - spec.low) / (spec.high - spec.low)
    torch.testing.assert_close(torch.sigmoid(ACTIVITY_LOGITS[name](z)), activity)


def test_topk_worked_out_on_paper() -> None:
    z = torch.tensor([[0.1, 3.0, -1.0, 2.0], [-4.0, -2.0, 0.5, -3.0], [-1.0, -2.0, -3.0, -4.0]])
    assert topk(z, 2).tolist() == [[0, 3, 0, 2], [0, 0, 0.5, 0], [0, 0, 0, 0]]
    assert topk(z, 1).tolist() == [[0, 3, 0, 0], [0, 0, 0.5, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("shift", [-1.0, 0.0, 5.0])
def test_topk_keeps_the_largest_of_each_row_and_no_more(k: int, shift: float) -> None:
    z = normal(300, 8) + shift
    code = topk(z, k)
    rectified = np.maximum(z.numpy(), 0)
    for row, kept in zip(rectified, code.numpy(), strict=True):
        smallest = np.sort(row)[-k]
        np.testing.assert_array_equal(kept, np.where(row >= smallest, row, 0))
    active = (code > 0).sum(1)
    assert (active <= k).all()
    assert (active == torch.clamp((z > 0).sum(1), max=k)).all()


@pytest.mark.parametrize("k", [8, 9, 1000])
def test_topk_of_all_units_is_the_rectifier(k: int) -> None:
    z = normal(20, 8)
    assert torch.equal(topk(z, k), torch.relu(z))


def test_the_gradient_of_topk_flows_through_what_it_keeps_alone() -> None:
    z = normal(50, 8).requires_grad_()
    weights = normal(50, 8, seed=1)
    code = topk(z, 3)
    (code * weights).sum().backward()
    torch.testing.assert_close(z.grad, torch.where(code > 0, weights, 0), rtol=0, atol=0)
    assert torch.autograd.gradcheck(lambda v: topk(v, 3), (normal(4, 6).requires_grad_(),))
