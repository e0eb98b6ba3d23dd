"""Denoising: what noise is added, and what each PSNR is of."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.baselines import PrincipalComponents
from rhobeta.metrics.downstream.denoising import denoising_quality

Images = NDArray[np.float32]
GREY = np.full((400, 50), 0.5, np.float32)


def noisy(images: Images, sigma: float) -> Images:
    return images


def quality(test: Images, sigma: float, estimate: Images) -> dict[str, float]:
    denoisers = {"code": lambda *_: estimate, "noisy": noisy}
    found = denoising_quality(denoisers, test, noise=[sigma], seed=0)
    return {name.partition("_")[0]: value for name, value in found.items()}


def test_denoising_psnr_by_hand() -> None:
    found = quality(GREY, 0.05, GREY + np.float32(0.1))
    assert found["code"] == pytest.approx(20, abs=1e-4)
    # Ten standard deviations from the bounds: clipping takes nothing away.
    assert found["noisy"] == pytest.approx(10 * math.log10(1 / 0.05**2), abs=0.2)


def test_denoising_clips_every_estimate() -> None:
    black = np.zeros((400, 50), np.float32)
    assert quality(black, 0.3, black - 7)["code"] == math.inf
    # Half of the noise is below 0 and lost: the error is sigma^2 / 2.
    assert quality(black, 0.3, black)["noisy"] == pytest.approx(
        10 * math.log10(2 / 0.3**2), abs=0.2
    )


def test_denoising_does_not_clip_the_noisy_image() -> None:
    black = np.zeros((400, 50), np.float32)
    seen = []
    denoising_quality({"code": lambda y, _: seen.append(y) or y}, black, noise=[0.3], seed=0)
    assert seen[0].min() < -0.5
    assert seen[0].std() == pytest.approx(0.3, abs=0.01)
    assert abs(seen[0].mean()) < 0.01


def test_denoising_levels_scale_the_same_noise() -> None:
    def noise(seed: int) -> list[Images]:
        seen: list[Images] = []
        denoisers = {"code": lambda y, _: seen.append(y - GREY) or y}
        denoising_quality(denoisers, GREY, noise=[0.1, 0.2], seed=seed)
        return seen

    weak, strong = noise(0)
    np.testing.assert_allclose(2 * weak, strong, atol=1e-6)
    assert np.array_equal(noise(0)[0], weak)
    assert not np.array_equal(noise(1)[0], weak)


def test_denoising_of_digits_by_the_wiener_filter(digits: Samples, test_digits: Samples) -> None:
    train, test = pixels_of(digits.values), pixels_of(test_digits.values)
    pca = PrincipalComponents.fit(train)
    denoisers = {"wiener": pca.denoised, "noisy": noisy}
    found = denoising_quality(denoisers, test, noise=[0.1, 0.3, 0.5], seed=0)
    for sigma in (0.1, 0.3, 0.5):
        blurred = test + np.float32(sigma) * np.random.default_rng(0).standard_normal(
            test.shape, dtype=np.float32
        )
        cleaned = pca.denoised(blurred, sigma).clip(0, 1)
        expected = 10 * math.log10(1 / np.square(cleaned - test, dtype=np.float64).mean())
        assert found[f"wiener_at_{sigma}"] == pytest.approx(expected, abs=1e-6)
        assert found[f"wiener_at_{sigma}"] > found[f"noisy_at_{sigma}"] + 1
