"""The baselines that an autoencoder must beat, against numpy's own decomposition."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.data.labelled import LabelledImages
from rhobeta.metrics.baselines import Baselines, PrincipalComponents
from rhobeta.metrics.baselines import reconstruction_baselines as floors_of_pca

Images = NDArray[np.float32]


def images(count: int, pixels: int = 12, seed: int = 0) -> Images:
    """Correlated pixels around one half, some of them out of a clipped rank's reach."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(pixels, pixels)) * 0.3
    return (0.5 + random.normal(size=(count, pixels)) @ mixing).clip(0, 1).astype(np.float32)


def reconstruction_baselines(train: Images, test: Images, *, components: int) -> Baselines:
    return floors_of_pca(PrincipalComponents.fit(train), test, components=components)


def rebuilt_by_svd(train: Images, test: Images, components: int) -> NDArray[np.float64]:
    mean = train.mean(0, dtype=np.float64)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:components]
    return mean + (test - mean) @ axes.T @ axes


@pytest.mark.parametrize("components", [1, 3, 7])
def test_pca_is_the_truncated_svd_of_the_centred_training_images(components: int) -> None:
    train, test = images(60), images(25, seed=1)
    baselines = reconstruction_baselines(train, test, components=components)
    rebuilt = rebuilt_by_svd(train, test, components)
    assert baselines.pca == pytest.approx(np.square(test - rebuilt).mean(), rel=1e-4)
    assert baselines.pca_clipped == pytest.approx(
        np.square(test - rebuilt.clip(0, 1)).mean(), rel=1e-4
    )


def test_pca_of_real_digits_is_the_truncated_svd(
    digits: LabelledImages, test_digits: LabelledImages
) -> None:
    train, test = pixels_of(digits.images), pixels_of(test_digits.images)
    rebuilt = rebuilt_by_svd(train, test, 16)
    baselines = reconstruction_baselines(train, test, components=16)
    assert baselines.pca == pytest.approx(np.square(test - rebuilt).mean(), rel=1e-4)
    assert baselines.pca_clipped < baselines.pca < baselines.mean_image


def test_mean_image_by_hand() -> None:
    train = np.array([[0, 1], [1, 1]], dtype=np.float32)
    test = np.array([[1, 0]], dtype=np.float32)
    # The mean is (1/2, 1).
    baselines = reconstruction_baselines(train, test, components=1)
    assert baselines.mean_image == (0.25 + 1) / 2
    # The only component is the first pixel's axis, so that the second stays at its mean.
    assert baselines.pca == pytest.approx(1 / 2, rel=1e-6)


@pytest.mark.parametrize("components", [12, 40])
def test_as_many_components_as_pixels_lose_nothing(components: int) -> None:
    baselines = reconstruction_baselines(images(60), images(25, seed=1), components=components)
    assert baselines.pca == pytest.approx(0, abs=1e-10)
    assert baselines.pca_clipped == pytest.approx(0, abs=1e-10)
    assert baselines.mean_image > 0.01


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("components", [1, 5])
def test_clipping_is_never_worse(seed: int, components: int) -> None:
    baselines = reconstruction_baselines(images(60), images(25, seed=seed), components=components)
    assert baselines.pca_clipped <= baselines.pca


def test_clipping_helps_where_the_linear_code_leaves_the_range() -> None:
    train = np.array([[0, 0], [1, 1], [0, 0.5]], dtype=np.float32)
    test = np.array([[0, 0], [1, 1]], dtype=np.float32)
    rebuilt = rebuilt_by_svd(train, test, 1)
    assert rebuilt.min() < 0
    baselines = reconstruction_baselines(train, test, components=1)
    assert baselines.pca_clipped < baselines.pca


@pytest.mark.parametrize("samples", [2, 5])
def test_more_components_than_training_images_are_as_many_as_there_are(samples: int) -> None:
    train, test = images(samples), images(25, seed=1)
    baselines = reconstruction_baselines(train, test, components=10)
    rebuilt = rebuilt_by_svd(train, test, samples - 1)
    on_train = reconstruction_baselines(train, train, components=10)
    assert on_train.pca == pytest.approx(0, abs=1e-10)
    # Axes beyond the rank are any that are orthogonal: they can only help.
    assert baselines.pca <= np.square(test - rebuilt).mean() * (1 + 1e-4)
