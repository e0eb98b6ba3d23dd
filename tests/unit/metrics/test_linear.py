"""Principal components and the Wiener filter, against scikit-learn and the formula."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from rhobeta.data.batches import pixels_of
from rhobeta.data.labelled import LabelledImages
from rhobeta.metrics.linear import PrincipalComponents

Images = NDArray[np.float32]


def images(count: int, pixels: int = 6, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(pixels, pixels)) * 0.3
    return (0.5 + random.normal(size=(count, pixels)) @ mixing).astype(np.float32)


def test_axes_and_variances_are_scikit_learns() -> None:
    train = images(5000)  # more than one piece
    ours, theirs = PrincipalComponents.fit(train), PCA().fit(train.astype(np.float64))
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(ours.axes.T @ theirs.components_.T), np.eye(6), atol=1e-6)
    # Divided by the number of images, not by one less.
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_ * 4999 / 5000, rtol=1e-6)


def test_coefficients_of_the_training_images_have_mean_zero_and_the_variances() -> None:
    train = images(300)
    pca = PrincipalComponents.fit(train)
    coefficients = pca.coefficients(train, 4)
    assert coefficients.shape == (300, 4)
    np.testing.assert_allclose(coefficients.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(coefficients.var(0), pca.variances[:4], rtol=1e-4)


def test_all_coefficients_rebuild_any_image() -> None:
    pca, others = PrincipalComponents.fit(images(300)), images(20, seed=1)
    rebuilt = pca.rebuilt(pca.coefficients(others, 6))
    np.testing.assert_allclose(rebuilt, others, atol=1e-5)


def test_components_are_as_many_as_asked_pixels_or_images() -> None:
    assert PrincipalComponents.fit(images(300)).components == 6
    few = PrincipalComponents.fit(images(4))
    assert few.components == 4
    assert few.coefficients(images(5), 99).shape == (5, 4)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_the_filter_is_the_formula(sigma: float) -> None:
    train, noisy = images(300), images(20, seed=1)
    exact = train.astype(np.float64)
    mean, covariance = exact.mean(0), np.cov(exact.T, bias=True)
    gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(6))
    expected = mean + (noisy - mean) @ gain.T
    denoised = PrincipalComponents.fit(train).denoised(noisy, sigma)
    np.testing.assert_allclose(denoised, expected, atol=1e-5)


def test_no_linear_filter_of_one_strength_does_better_on_the_images_it_knows() -> None:
    train = images(3000)
    noisy = train + np.random.default_rng(1).normal(scale=0.4, size=train.shape).astype(np.float32)
    pca = PrincipalComponents.fit(train)
    errors = {
        sigma: np.square(pca.denoised(noisy, sigma) - train).mean() for sigma in (0.2, 0.4, 0.8)
    }
    assert min(errors, key=lambda sigma: errors[sigma]) == 0.4


def test_images_that_never_vary_are_their_mean(digits: LabelledImages) -> None:
    one = np.repeat(pixels_of(digits.images[:1]), 3, axis=0)
    pca = PrincipalComponents.fit(one)
    np.testing.assert_allclose(pca.variances, 0, atol=1e-12)
    np.testing.assert_allclose(pca.denoised(np.zeros_like(one), 0.3), one, atol=1e-6)
