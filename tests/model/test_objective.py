"""The objective: its terms by hand, and its likeness to the cost of CS294A."""

import math

import pytest
import torch
from torch import Tensor

from rhobeta.model.autoencoder import Architecture, Autoencoder, Output
from rhobeta.model.objective import Objective, ng_beta

X = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
X_HAT = torch.tensor([[0.5, 1.0], [1.0, 0.0]])
MSE = (0.25 + 0 + 0 + 1) / 4
# A unit of mean activation 1/2 under the target 1/5; the other unit is on target.
PENALTY = 0.2 * math.log(0.4) + 0.8 * math.log(1.6)


def output(code_activation: str) -> Output:
    logits = torch.tensor([[2.0, math.log(1 / 4)], [-2.0, math.log(1 / 4)]])
    if code_activation == "tanh":
        return Output(logits / 2, torch.tanh(logits / 2), X_HAT.logit(), X_HAT)
    return Output(logits, torch.sigmoid(logits), X_HAT.logit(), X_HAT)


@pytest.mark.parametrize("code_activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("beta", [0.0, 0.01, 3.0])
def test_terms_worked_out_by_hand(code_activation: str, beta: float) -> None:
    objective = Objective("kl", code_activation, rho=0.2, beta=beta)
    loss, mse, penalty = objective(output(code_activation), X)
    assert mse.item() == pytest.approx(MSE, rel=1e-6)
    assert penalty.item() == pytest.approx(PENALTY, rel=1e-6)
    assert loss.item() == pytest.approx(MSE + beta * PENALTY, rel=1e-6)


def test_penalty_is_a_sum_over_units_and_does_not_grow_with_the_batch() -> None:
    objective = Objective("kl", "sigmoid", rho=0.2, beta=1.0)
    z, code, decoded, x_hat = output("sigmoid")
    twice_the_units = Output(torch.cat([z, z], 1), torch.cat([code, code], 1), decoded, x_hat)
    assert objective(twice_the_units, X).penalty.item() == pytest.approx(2 * PENALTY, rel=1e-6)
    twice_the_batch = Output(*(torch.cat([values, values]) for values in (z, code, decoded, x_hat)))
    terms = objective(twice_the_batch, torch.cat([X, X]))
    assert terms.penalty.item() == pytest.approx(PENALTY, rel=1e-6)
    assert terms.mse.item() == pytest.approx(MSE, rel=1e-6)


@pytest.mark.parametrize("code_activation", ["sigmoid", "tanh", "relu", "identity"])
def test_without_a_penalty_the_loss_is_the_error(code_activation: str) -> None:
    terms = Objective("none", code_activation, rho=0.2, beta=5.0)(output("sigmoid"), X)
    assert terms.loss.item() == terms.mse.item() == pytest.approx(MSE, rel=1e-6)
    assert terms.penalty.item() == 0


def test_a_kl_on_an_unbounded_code_is_refused() -> None:
    with pytest.raises(ValueError, match="relu"):
        Objective("kl", "relu", rho=0.2, beta=1.0)(output("sigmoid"), X)


def test_rho_and_beta_may_be_tensors_that_learn() -> None:
    rho = torch.tensor(0.2, requires_grad=True)
    beta = torch.tensor(3.0, requires_grad=True)
    terms = Objective("kl", "sigmoid", rho=rho, beta=beta)(output("sigmoid"), X)
    assert terms.loss.item() == pytest.approx(MSE + 3 * PENALTY, rel=1e-6)
    terms.loss.backward()
    assert beta.grad is not None
    assert beta.grad.item() == pytest.approx(PENALTY, rel=1e-6)
    assert rho.grad is not None
    # 3 (logit 0.2 - logit 0.5) from the first unit, none from the one on target.
    assert rho.grad.item() == pytest.approx(3 * math.log(1 / 4), rel=1e-5)


def test_ng_beta_of_the_shipped_weight_on_mnist_is_three() -> None:
    assert ng_beta(0.00765306, 784) == pytest.approx(3, rel=1e-6)


def ng_cost(model: Autoencoder, x: Tensor, rho: float, beta: float) -> Tensor:
    """CS294A, section 3, without weight decay."""
    _, code, _, x_hat = model(x)
    error = (0.5 * (x - x_hat).square().sum(1)).mean()
    rho_hat = code.mean(0)
    kl = rho * torch.log(rho / rho_hat) + (1 - rho) * torch.log((1 - rho) / (1 - rho_hat))
    return error + beta * kl.sum()


@pytest.mark.parametrize("beta", [0.0, 0.001, 0.5])
@pytest.mark.parametrize("shape", [(28, 28), (2, 3)])
def test_ngs_cost_is_ours_times_half_the_pixels(beta: float, shape: tuple[int, int]) -> None:
    model = Autoencoder(Architecture(shape, (6,), "sigmoid", "relu", "sigmoid")).double()
    pixels = shape[0] * shape[1]
    x = torch.rand(9, pixels, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours = Objective("kl", "sigmoid", rho=0.05, beta=beta)(model(x), x).loss
    theirs = ng_cost(model, x, 0.05, ng_beta(beta, pixels))
    torch.testing.assert_close(theirs, pixels / 2 * ours, rtol=1e-12, atol=0)
    weights = tuple(model.parameters())
    for g_theirs, g_ours in zip(
        torch.autograd.grad(theirs, weights), torch.autograd.grad(ours, weights), strict=True
    ):
        torch.testing.assert_close(g_theirs, pixels / 2 * g_ours, rtol=1e-9, atol=1e-12)
