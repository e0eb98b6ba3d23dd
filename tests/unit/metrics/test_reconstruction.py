"""Reconstruction quality: worked examples, and what it is for the mean and the perfect image."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from rhobeta.metrics.reconstruction import (
    ReconstructionAccumulator,
    ReconstructionQuality,
    feature_mse,
    psnr,
    truncated_mse,
)
from rhobeta.model.autoencoder import Architecture, Autoencoder


def quality(x: Tensor, reconstruction: Tensor, mean_image: Tensor) -> ReconstructionQuality:
    accumulator = ReconstructionAccumulator(mean_image)
    accumulator.update(x, reconstruction)
    return accumulator.quality()


def images(count: int, pixels: int = 6, seed: int = 0) -> Tensor:
    return torch.rand(count, pixels, generator=torch.Generator().manual_seed(seed))


def test_quality_by_hand() -> None:
    x = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    found = quality(x, torch.tensor([[0.5, 1.0], [1.0, 0.0]]), torch.tensor([0.5, 0.5]))
    # Errors 1/4 + 1 over four pixels; every pixel is 1/2 off the mean.
    assert found.mse == 1.25 / 4
    assert found.fvu == 1.25 / (4 * 0.25)
    assert found.psnr_db == pytest.approx(10 * math.log10(4 / 1.25))


def test_fvu_of_the_mean_image_is_one() -> None:
    train, test = images(20), images(9, seed=1) ** 2
    mean = train.mean(0)
    found = quality(test, mean.expand_as(test), mean)
    assert found.fvu == pytest.approx(1, rel=1e-12)


def test_fvu_is_about_the_training_mean() -> None:
    train, test = torch.tensor([[0.0, 0.0], [0.5, 0.0]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    # About train's mean (1/4, 0): 9/16 + 1/16 + 1/4. About test's own (3/4, 1/4) it were 1/4.
    found = quality(test, torch.zeros(2, 2), train.mean(0))
    assert found.fvu == pytest.approx((1 + 0.25 + 0.25) / (14 / 16), rel=1e-12)


def test_quality_of_a_perfect_reconstruction() -> None:
    x = images(5)
    found = quality(x, x.clone(), x.mean(0))
    assert (found.mse, found.fvu, found.psnr_db) == (0, 0, math.inf)


@pytest.mark.parametrize(
    ("mse", "expected"), [(1.0, 0), (0.1, 10), (0.01, 20), (1e-6, 60), (4.0, -20 * math.log10(2))]
)
def test_psnr_in_decibels(mse: float, expected: float) -> None:
    assert psnr(mse) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("sizes", [(1, 30, 9), (39, 1), (1,) * 40])
def test_quality_of_pieces_equals_the_whole(sizes: tuple[int, ...]) -> None:
    x, reconstruction, mean = images(40), images(40, seed=1), images(1, seed=2)[0]
    whole = quality(x, reconstruction, mean)
    accumulator = ReconstructionAccumulator(mean)
    for piece, rebuilt in zip(x.split(sizes), reconstruction.split(sizes), strict=True):
        accumulator.update(piece, rebuilt)
    found = accumulator.quality()
    assert found.mse == pytest.approx(whole.mse, rel=1e-13)
    assert found.fvu == pytest.approx(whole.fvu, rel=1e-13)
    assert found.psnr_db == pytest.approx(whole.psnr_db, rel=1e-13)


def test_quality_sums_in_double_precision() -> None:
    x = torch.zeros(4096, 100)
    reconstruction = torch.full_like(x, 0.1)
    expected = torch.tensor(0.1).double().item() ** 2
    assert quality(x, reconstruction, torch.ones(100)).mse == pytest.approx(expected, rel=1e-12)


def test_quality_without_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        ReconstructionAccumulator(torch.zeros(3)).quality()


def test_update_does_not_change_the_images() -> None:
    x = torch.rand(300, 5, dtype=torch.float64)
    before = x.clone()
    accumulator = ReconstructionAccumulator(torch.full((5,), 0.5))
    accumulator.update(x, x)
    assert torch.equal(x, before)
    assert accumulator.quality().mse == 0


def copying_model(code_activation: str = "relu") -> Autoencoder:
    model = Autoencoder(Architecture((1, 3), (3,), code_activation, "relu", "identity"))
    with torch.no_grad():
        for layer in (model.encoder[0], model.decoder[0]):
            layer.weight.copy_(torch.eye(3))
    return model


def test_truncated_mse_by_hand() -> None:
    # The model copies; with one unit left, the two smaller pixels are lost.
    x = torch.tensor([[0.5, 0.25, 1.0], [0.0, 0.5, 0.25]])
    model = copying_model()
    assert truncated_mse(model, x, 3) == truncated_mse(model, x, 99) == 0
    assert truncated_mse(model, x, 2) == pytest.approx(0.25**2 / 6)
    assert truncated_mse(model, x, 1) == pytest.approx((0.5**2 + 0.25**2 + 0.25**2) / 6)


def test_truncated_mse_refuses_negative_codes() -> None:
    with pytest.raises(ValueError, match="negative"):
        truncated_mse(copying_model("identity"), torch.tensor([[-1.0, 0.5, 0.5]]), 2)


def test_feature_mse_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rhobeta.metrics.reconstruction._CODES", 2)
    x = np.array([[0, 5], [2, 5], [4, 5]], np.float32)
    assert feature_mse(x, x + np.array([3, -1], np.float32)).tolist() == [9, 1]
