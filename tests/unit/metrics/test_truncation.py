"""Reconstruction by the most active units alone."""

import numpy as np
import pytest
import torch

from rhobeta.data.batches import pixels_of
from rhobeta.data.labelled import LabelledImages
from rhobeta.metrics.truncation import truncated_mse
from rhobeta.model.autoencoder import Architecture, Autoencoder


def set_up(code_activation: str = "relu") -> Autoencoder:
    model = Autoencoder(Architecture((1, 3), (3,), code_activation, "relu", "identity"))
    with torch.no_grad():
        for layer in (model.encoder[0], model.decoder[0]):
            layer.weight.copy_(torch.eye(3))
    return model


def test_worked_out_by_hand() -> None:
    # The network copies; with one unit left, what the two smaller pixels held is lost.
    x = torch.tensor([[0.5, 0.25, 1.0], [0.0, 0.5, 0.25]])
    model = set_up()
    assert truncated_mse(model, x, 3) == 0
    assert truncated_mse(model, x, 2) == pytest.approx(0.25**2 / 6)
    assert truncated_mse(model, x, 1) == pytest.approx((0.5**2 + 0.25**2 + 0.25**2) / 6)


def test_more_units_than_there_are_is_the_whole_code(digits: LabelledImages) -> None:
    x = torch.from_numpy(pixels_of(digits.images))
    model = Autoencoder(Architecture((28, 28), (16,), "sigmoid", "relu", "sigmoid"), seed=3)
    with torch.no_grad():
        whole = (x.double() - model(x).reconstruction).square().mean().item()
    assert truncated_mse(model, x, 16) == pytest.approx(whole, rel=1e-6)
    assert truncated_mse(model, x, 99) == truncated_mse(model, x, 16)


def test_the_most_active_are_kept_and_not_any(digits: LabelledImages) -> None:
    x = torch.from_numpy(pixels_of(digits.images))
    model = Autoencoder(Architecture((28, 28), (16,), "relu", "relu", "identity"), seed=3)
    with torch.no_grad():
        code = model.encode(x).numpy()
        cut = np.where(code >= np.sort(code, axis=1)[:, -4:-3], code, 0)
        rebuilt = model.decode(torch.from_numpy(cut)).numpy()
    naive = np.square(x.numpy().astype(np.float64) - rebuilt).mean()
    assert truncated_mse(model, x, 4) == pytest.approx(naive, rel=1e-6)


def test_codes_that_do_not_rest_at_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        truncated_mse(set_up("identity"), torch.tensor([[-1.0, 0.5, 0.5]]), 2)
