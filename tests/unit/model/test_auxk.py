"""Which units are silent, and the loss that lets them try."""

import pytest
import torch

from rhobeta.model.autoencoder import Architecture, Autoencoder, Output
from rhobeta.model.auxk import DeadUnitTracker, added_code

CPU = torch.device("cpu")


def topk_model() -> tuple[Autoencoder, torch.Tensor]:
    model = Autoencoder(Architecture((2, 3), (5,), "topk", "relu", "sigmoid", k=2)).double()
    x = torch.rand(7, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return model, x


def auxk_loss(
    model: Autoencoder, output: Output, x: torch.Tensor, inactive: torch.Tensor, *, units: int
) -> torch.Tensor:
    code = output.code.detach() + added_code(output.pre_activation, inactive, units)
    return (x - model.decode(code)).square().mean()


def take(silent: DeadUnitTracker, code: list[list[float]]) -> None:
    values = torch.tensor(code)
    silent.update((values > 0).any(0), len(values))


def test_units_are_inactive_after_patience_images() -> None:
    silent = DeadUnitTracker(3, 5, CPU)
    assert silent.mask.tolist() == [False, False, False]
    take(silent, [[1.0, 0, 0], [0, 0, 0]])
    assert silent.mask.tolist() == [False, False, False]
    take(silent, [[1.0, 0, 0], [0, 0, 0], [0, 0.1, 0]])
    # The third has not been active for five images; the second was, in one of this batch.
    assert silent.mask.tolist() == [False, False, True]
    take(silent, [[0, 0, 0.2], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    assert silent.mask.tolist() == [True, True, False]


def test_codes_not_above_zero_do_not_count_as_active() -> None:
    silent = DeadUnitTracker(2, 1, CPU)
    take(silent, [[0.0, -1.0]])
    assert silent.mask.tolist() == [True, True]


def test_auxk_loss_by_hand() -> None:
    model, x = topk_model()
    output = model(x)
    silent = torch.tensor([False, True, False, True, True])
    found = auxk_loss(model, output, x, silent, units=1)
    z, code = output.pre_activation.detach(), output.code.detach().clone()
    for row, values in zip(code, z, strict=True):
        best = max((1, 3, 4), key=lambda unit: values[unit].item())
        row[best] += values[best].item()
    expected = (x - torch.sigmoid(model.decoder[0](code))).square().mean()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("shift", [0.0, -50.0])
def test_auxk_gradient_reaches_inactive_units_alone(shift: float) -> None:
    model, x = topk_model()
    # Units that are below zero for every image are the ones that most need it.
    with torch.no_grad():
        model.encoder[0].bias += shift
    silent = torch.tensor([False, True, False, True, False])
    auxk_loss(model, model(x), x, silent, units=2).backward()
    reached = model.encoder[0].weight.grad.abs().sum(1) > 0
    assert torch.equal(reached, silent)
    assert torch.equal(model.encoder[0].bias.grad.abs() > 0, silent)


def test_auxk_without_inactive_units_has_no_gradient() -> None:
    model, x = topk_model()
    output = model(x)
    loss = auxk_loss(model, output, x, torch.zeros(5, dtype=torch.bool), units=2)
    # What the code leaves, as it is.
    torch.testing.assert_close(loss, (x - output.reconstruction).square().mean())
    loss.backward()
    assert not model.encoder[0].weight.grad.any()
