"""The gradient in closed form is autograd's, for every network and loss that is built in."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS, incompatibility
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.auxk import added_code
from rhobeta.model.loss import LossTerms, SparseLoss
from rhobeta.model.means import Means, RunningMean
from rhobeta.training.closed_form import ClosedForm

RHO, BETA, AUXK = 0.2, 0.3, (0.7, 2)
INACTIVE = torch.tensor([True, False, True, False, True])


def network(
    code: str = "sigmoid",
    *,
    hidden: str = "sigmoid",
    output: str = "sigmoid",
    sizes: tuple[int, ...] = (5,),
    tied: bool = False,
) -> Autoencoder:
    k = 2 if code == "topk" else None
    architecture = Architecture((3, 2), sizes, code, hidden, output, tied, k)
    model = Autoencoder(architecture, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for values in model.parameters():
            # As positive as not, and with biases that are not zero.
            values.add_(0.3 * torch.randn(values.shape, generator=generator, dtype=values.dtype))
    return model


def mini_batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(9, 6, generator=generator, dtype=torch.float64)
    return x, x + 0.2 * torch.randn(9, 6, generator=generator, dtype=torch.float64)


def by_autograd(
    model: Autoencoder, loss: SparseLoss, inactive: Tensor | None, weight: float
) -> tuple[list[Tensor], LossTerms]:
    x, given = mini_batch()
    output = model(given, clean=x)
    terms = loss(output, x, model.weights())
    value = terms.loss
    if inactive is not None:
        coef, units = AUXK
        code = output.code.detach() + added_code(output.pre_activation, inactive, units)
        value = value + coef * mse_loss(model.decode(code), x)
    return list(torch.autograd.grad(value * weight, list(model.parameters()))), terms


def require_equal(
    model: Autoencoder, loss: SparseLoss, inactive: Tensor | None = None, weight: float = 1.0
) -> None:
    expected, terms = by_autograd(model, loss, inactive, weight)
    x, given = mini_batch()
    step = ClosedForm(model, loss, lambda means, _: means, auxk=AUXK)
    found, _ = step(x, given, inactive=inactive, weight=weight)
    for values, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(values.grad, gradient, rtol=1e-12, atol=1e-14)
    penalty = torch.zeros(()) if found.penalty is None else found.penalty
    measured = [found.pixel_loss.sum() / x.numel(), found.squared_error.sum() / x.numel(), penalty]
    wanted = [terms.loss - loss.beta * terms.penalty, terms.mse, terms.penalty]
    torch.testing.assert_close(
        torch.stack([value.double() for value in measured]),
        torch.stack([value.double().detach() for value in wanted]),
        rtol=1e-12,
        atol=1e-14,
    )


def loss_of(kind: str, code: str, pixel_loss: str = "mse") -> SparseLoss:
    return SparseLoss(kind, code, RHO, BETA, pixel_loss)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (kind, code)
        for kind, code in itertools.product(PENALTY_SPECS, ACTIVATION_SPECS)
        if incompatibility(kind, code) is None
    ],
)
def test_penalties_on_codes(kind: str, code: str) -> None:
    for sizes, tied in itertools.product(((5,), (4, 5), (7, 4, 5)), (False, True)):
        require_equal(network(code, sizes=sizes, tied=tied), loss_of(kind, code), weight=0.4)


@pytest.mark.parametrize(
    ("hidden", "output", "pixel_loss"),
    [
        *itertools.product(
            ("sigmoid", "tanh", "relu"), ("sigmoid", "tanh", "relu", "identity"), ("mse",)
        ),
        ("tanh", "sigmoid", "bce"),
    ],
)
def test_activations_and_pixel_losses(hidden: str, output: str, pixel_loss: str) -> None:
    model = network(hidden=hidden, output=output, sizes=(4, 5))
    require_equal(model, loss_of("kl", "sigmoid", pixel_loss))


@pytest.mark.parametrize("pixel_loss", ["mse", "bce"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("sizes", [(5,), (4, 5)])
def test_inactive_units_are_revived(sizes: tuple[int, ...], tied: bool, pixel_loss: str) -> None:
    model = network("topk", sizes=sizes, tied=tied)
    require_equal(model, loss_of("none", "topk", pixel_loss), INACTIVE)


@pytest.mark.parametrize("code", ["sigmoid", "tanh"])
def test_a_running_mean_has_the_gradient_of_the_batch(code: str) -> None:
    model = network(code)
    loss = loss_of("kl", code)
    x, given = mini_batch()
    earlier = loss.means(*(values.detach() for values in model(given.flip(1))[:2]))
    assert earlier is not None

    def running() -> RunningMean:
        mean = RunningMean(0.25)
        mean.update(earlier)
        return mean

    output = model(given)
    means = running().update(loss.means(*output[:2]))
    expected = torch.autograd.grad(loss(output, x, means=means).loss, list(model.parameters()))
    mean = running()

    def combine(batch: Means | None, weight: float) -> Means | None:
        assert batch is not None
        return mean.update(batch)

    ClosedForm(model, loss, combine)(x, given)
    for values, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(values.grad, gradient, rtol=1e-12, atol=1e-14)


def test_saturated_units_keep_their_gradient() -> None:
    model = network()
    with torch.no_grad():
        model.encoder[0].bias.copy_(torch.tensor([-900.0, 900.0, -60.0, 60.0, 0.0]))
    require_equal(model, loss_of("kl", "sigmoid"))
    assert (model.encoder[0].bias.grad.abs() > 1e-3).all()
