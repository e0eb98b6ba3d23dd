"""The objective: its terms by hand, and its likeness to the cost of CS294A."""

import math

import pytest
import torch
from torch import Tensor

from rhobeta.extensions import ACTIVATION_SPECS, ActivationSpec
from rhobeta.model.autoencoder import Architecture, Autoencoder, Output
from rhobeta.model.loss import SparseLoss, ng_beta
from rhobeta.model.means import LogMeans, Mean, Means, joined

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
    objective = SparseLoss("kl", code_activation, rho=0.2, beta=beta)
    loss, mse, penalty = objective(output(code_activation), X)
    assert mse.item() == pytest.approx(MSE, rel=1e-6)
    assert penalty.item() == pytest.approx(PENALTY, rel=1e-6)
    assert loss.item() == pytest.approx(MSE + beta * PENALTY, rel=1e-6)


def test_penalty_grows_with_units_not_with_the_batch() -> None:
    objective = SparseLoss("kl", "sigmoid", rho=0.2, beta=1.0)
    z, code, decoded, x_hat = output("sigmoid")
    twice_the_units = Output(torch.cat([z, z], 1), torch.cat([code, code], 1), decoded, x_hat)
    assert objective(twice_the_units, X).penalty.item() == pytest.approx(2 * PENALTY, rel=1e-6)
    twice_the_batch = Output(*(torch.cat([values, values]) for values in (z, code, decoded, x_hat)))
    terms = objective(twice_the_batch, torch.cat([X, X]))
    assert terms.penalty.item() == pytest.approx(PENALTY, rel=1e-6)
    assert terms.mse.item() == pytest.approx(MSE, rel=1e-6)


@pytest.mark.parametrize("code_activation", ["sigmoid", "tanh", "relu", "identity"])
def test_without_a_penalty_the_loss_is_the_error(code_activation: str) -> None:
    terms = SparseLoss("none", code_activation, rho=0.2, beta=5.0)(output("sigmoid"), X)
    assert terms.loss.item() == terms.mse.item() == pytest.approx(MSE, rel=1e-6)
    assert terms.penalty.item() == 0


def test_a_kl_on_an_unbounded_code_is_refused() -> None:
    with pytest.raises(ValueError, match="relu"):
        SparseLoss("kl", "relu", rho=0.2, beta=1.0)(output("sigmoid"), X)


def test_rho_and_beta_may_be_tensors_that_learn() -> None:
    rho = torch.tensor(0.2, requires_grad=True)
    beta = torch.tensor(3.0, requires_grad=True)
    terms = SparseLoss("kl", "sigmoid", rho=rho, beta=beta)(output("sigmoid"), X)
    assert terms.loss.item() == pytest.approx(MSE + 3 * PENALTY, rel=1e-6)
    terms.loss.backward()
    assert beta.grad is not None
    assert beta.grad.item() == pytest.approx(PENALTY, rel=1e-6)
    assert rho.grad is not None
    # 3 (logit 0.2 - logit 0.5) from the first unit, none from the one on target.
    assert rho.grad.item() == pytest.approx(3 * math.log(1 / 4), rel=1e-5)


def test_ng_beta_of_the_shipped_weight_on_mnist_is_three() -> None:
    assert ng_beta(0.00765306, 784) == pytest.approx(3, rel=1e-6)


CODE = torch.tensor([[0.5, 0.0], [1.5, 0.25]])
# Means 1 and 1/8 over the batch.
SPARSE = Output(CODE.clone(), CODE, X_HAT.logit(), X_HAT)
KERNELS = [torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5], [0.25]])]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # rho log(rho / q) - rho + q, for q = 1 and 1/8.
        ("kl_poisson", 0.2 * math.log(0.2) + 0.8 + 0.2 * math.log(1.6) - 0.075),
        # 2 images of |a| 0.5 and 1.75.
        ("l1_code", (0.5 + 1.75) / 2),
        ("l1_weights", 3.75),
        ("none", 0.0),
    ],
)
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_other_penalties_by_hand(kind: str, expected: float, beta: float) -> None:
    terms = SparseLoss(kind, "relu", rho=0.2, beta=beta)(SPARSE, X, KERNELS)
    assert terms.penalty.item() == pytest.approx(expected, rel=1e-6)
    assert terms.mse.item() == pytest.approx(MSE, rel=1e-6)
    assert terms.loss.item() == pytest.approx(MSE + beta * expected, rel=1e-6)


def test_the_tutorials_kl_by_hand() -> None:
    halved = SPARSE._replace(code=CODE / 2)
    terms = SparseLoss("kl_tutorial", "relu", rho=0.2, beta=2.0)(halved, X)
    # q = 1/2, whose KL is PENALTY, and 1/16.
    expected = PENALTY + 0.2 * math.log(3.2) + 0.8 * math.log(0.8 * 16 / 15)
    assert terms.penalty.item() == pytest.approx(expected, rel=1e-6)
    assert SparseLoss("kl_tutorial", "relu", rho=0.2, beta=2.0)(SPARSE, X).loss.isinf()


def test_cross_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3)], [-math.log(3), 200.0]])
    output = Output(CODE, CODE, logits, torch.sigmoid(logits))
    loss, mse, penalty = SparseLoss("l1_code", "relu", 0.2, beta=2.0, pixel_loss="bce")(output, X)
    # x = 0, 1, 1, 1 and x_hat = 1/2, 3/4, 1/4, 1.
    cross_entropy = (math.log(2) + math.log(4 / 3) + math.log(4) + 0) / 4
    assert penalty.item() == pytest.approx(1.125)
    assert loss.item() == pytest.approx(cross_entropy + 2 * 1.125, rel=1e-6)
    assert mse.item() == pytest.approx((1 / 4 + 1 / 16 + 9 / 16 + 0) / 4, rel=1e-6)


def test_cross_entropy_has_gradient_at_saturated_outputs() -> None:
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    output = Output(CODE, CODE, logits, torch.sigmoid(logits))
    x = torch.tensor([[1.0, 0.0]])
    SparseLoss("none", "relu", 0.2, beta=0.0, pixel_loss="bce")(output, x).loss.backward()
    # (x_hat - x) / pixels
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-0.5, 0.5]]


@pytest.mark.parametrize(
    ("kind", "code_activation", "means"),
    [
        ("kl", "sigmoid", LogMeans(torch.tensor([0.5, 0.2]).log(), torch.tensor([0.5, 0.8]).log())),
        ("kl_tutorial", "relu", Mean(torch.tensor([0.5, 0.2]))),
    ],
)
def test_given_means_replace_those_of_the_batch(
    kind: str, code_activation: str, means: Means
) -> None:
    objective = SparseLoss(kind, code_activation, rho=0.2, beta=3.0)
    terms = objective(SPARSE, X, means=means)
    assert terms.penalty.item() == pytest.approx(PENALTY, rel=1e-6)
    assert terms.loss.item() == pytest.approx(MSE + 3 * PENALTY, rel=1e-6)
    assert objective(SPARSE, X).penalty.item() != pytest.approx(PENALTY, rel=0.01)


@pytest.mark.parametrize("kind", ["kl", "kl_poisson", "kl_tutorial", "l1_code"])
def test_means_of_pieces_joined_give_the_penalty_of_the_whole(kind: str) -> None:
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(30, 4, dtype=torch.float64, generator=generator)
    code = torch.sigmoid(z)
    objective = SparseLoss(kind, "sigmoid", rho=0.2, beta=1.0)
    first, second = (objective.means(z[s], code[s]) for s in (slice(0, 20), slice(20, 30)))
    assert first is not None
    assert second is not None
    found = objective.penalty(joined(first, second, 1 / 3), [])
    torch.testing.assert_close(
        found, objective.penalty(objective.means(z, code), []), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("kind", ["none", "l1_weights"])
def test_penalties_that_are_of_no_code_have_no_means(kind: str) -> None:
    loss = SparseLoss(kind, "relu", rho=0.2, beta=1.0)
    assert loss.means(SPARSE.pre_activation, SPARSE.code) is None


def test_kl_of_a_bounded_code_without_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(ACTIVATION_SPECS, "mine", ActivationSpec(low=-1, high=3))
    # Activities (1 + a) / 4 of 1/2 and 1/5 on average.
    code = torch.tensor([[0.0, -0.2], [2.0, -0.2]])
    terms = SparseLoss("kl", "mine", rho=0.2, beta=1.0)(SPARSE._replace(code=code), X)
    assert terms.penalty.item() == pytest.approx(PENALTY, rel=1e-6)


@pytest.mark.parametrize("kind", ["kl", "kl_poisson", "kl_tutorial", "l1_code"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_penalties_of_half_precision_are_computed_in_single(kind: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    z = (2 * torch.randn(300, 4, generator=generator)).to(dtype)
    objective = SparseLoss(kind, "sigmoid", rho=0.05, beta=1.0)
    found = objective.penalty(objective.means(z, z.sigmoid()), [])
    wide = objective.means(z.float(), z.sigmoid().float())
    assert found is not None
    assert found.dtype == torch.float32
    assert torch.equal(found, objective.penalty(wide, []))


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
    ours = SparseLoss("kl", "sigmoid", rho=0.05, beta=beta)(model(x), x).loss
    theirs = ng_cost(model, x, 0.05, ng_beta(beta, pixels))
    torch.testing.assert_close(theirs, pixels / 2 * ours, rtol=1e-12, atol=0)
    weights = tuple(model.parameters())
    for g_theirs, g_ours in zip(
        torch.autograd.grad(theirs, weights), torch.autograd.grad(ours, weights), strict=True
    ):
        torch.testing.assert_close(g_theirs, pixels / 2 * g_ours, rtol=1e-9, atol=1e-12)
