"""Principal components, the Wiener filter and the baselines, against numpy and scikit-learn."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.baselines import PrincipalComponents, reconstruction_baselines

Images = NDArray[np.float32]


def images(count: int, pixels: int = 6, seed: int = 0) -> Images:
    """Correlated pixels around one half; some reconstructions leave [0, 1]."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(pixels, pixels)) * 0.3
    return (0.5 + random.normal(size=(count, pixels)) @ mixing).clip(0, 1).astype(np.float32)


def rebuilt_by_svd(train: Images, test: Images, components: int) -> NDArray[np.float64]:
    mean = train.mean(0, dtype=np.float64)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:components]
    return mean + (test - mean) @ axes.T @ axes


def test_components_are_those_of_scikit_learn() -> None:
    train = images(5000)  # more than one piece
    ours, theirs = PrincipalComponents.fit(train), PCA().fit(train.astype(np.float64))
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(ours.axes.T @ theirs.components_.T), np.eye(6), atol=1e-6)
    # Divided by the number of images, not by one less.
    np.testing.assert_allclose(ours.variances, theirs.explained_variance_ * 4999 / 5000, rtol=1e-6)


def test_components_are_as_many_as_pixels_or_images() -> None:
    assert PrincipalComponents.fit(images(300)).components == 6
    few = PrincipalComponents.fit(images(4))
    assert few.components == 4
    assert few.coefficients(images(5), 99).shape == (5, 4)


def test_components_of_fewer_images_than_pixels_are_the_same() -> None:
    few, others = images(40, 300), images(9, 300, seed=1)
    pca = PrincipalComponents.fit(few)
    np.testing.assert_allclose(pca.axes.T @ pca.axes, np.eye(40), atol=1e-9)
    covariance = np.cov(few.astype(np.float64).T, bias=True)
    values, axes = np.linalg.eigh(covariance)
    np.testing.assert_allclose(pca.variances[:39], values[:-40:-1], rtol=1e-9)
    for components in (3, 39):
        first = axes[:, ::-1][:, :components]
        expected = pca.mean + (others - pca.mean) @ first @ first.T
        found = pca.rebuilt(pca.coefficients(others, components))
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_all_coefficients_rebuild_any_image() -> None:
    pca, others = PrincipalComponents.fit(images(300)), images(20, seed=1)
    np.testing.assert_allclose(pca.rebuilt(pca.coefficients(others, 6)), others, atol=1e-5)


def test_components_of_images_that_never_vary() -> None:
    one = np.repeat(images(1), 3, axis=0)
    pca = PrincipalComponents.fit(one)
    np.testing.assert_allclose(pca.variances, 0, atol=1e-12)
    np.testing.assert_allclose(pca.denoised(np.zeros_like(one), 0.3), one, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 3.0])
def test_wiener_filter_is_its_formula(sigma: float) -> None:
    train, noisy = images(300), images(20, seed=1)
    exact = train.astype(np.float64)
    mean, covariance = exact.mean(0), np.cov(exact.T, bias=True)
    gain = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(6))
    expected = mean + (noisy - mean) @ gain.T
    denoised = PrincipalComponents.fit(train).denoised(noisy, sigma)
    np.testing.assert_allclose(denoised, expected, atol=1e-5)


def test_pca_of_digits_is_the_truncated_svd(digits: Samples, test_digits: Samples) -> None:
    train, test = pixels_of(digits.values), pixels_of(test_digits.values)
    rebuilt = rebuilt_by_svd(train, test, 16)
    found = reconstruction_baselines(
        PrincipalComponents.fit(train), test, components=16, active=4, images=True
    )
    assert found["pca"] == pytest.approx(np.square(test - rebuilt).mean(), rel=1e-4)
    clipped = np.square(test - rebuilt.clip(0, 1)).mean()
    assert found["pca_clipped"] == pytest.approx(clipped, rel=1e-4)
    assert found["pca_clipped"] < found["pca"] < found["pca_active"]


def test_baselines_by_hand() -> None:
    train = np.array([[0, 1], [1, 1]], dtype=np.float32)
    test = np.array([[1, 0]], dtype=np.float32)
    # The mean is (1/2, 1); no component rebuilds it.
    found = reconstruction_baselines(
        PrincipalComponents.fit(train), test, components=1, active=0, images=False
    )
    assert "pca_clipped" not in found
    assert found["pca_active"] == (0.25 + 1) / 2
    # The only component is the first pixel's axis; the second pixel stays at its mean.
    assert found["pca"] == pytest.approx(1 / 2, rel=1e-6)


@pytest.mark.parametrize("components", [6, 40])
def test_pca_of_as_many_components_as_pixels_is_exact(components: int) -> None:
    pca = PrincipalComponents.fit(images(60))
    found = reconstruction_baselines(
        pca, images(25, seed=1), components=components, active=3, images=True
    )
    assert found["pca"] == pytest.approx(0, abs=1e-10)
    assert found["pca_active"] > 0.01
