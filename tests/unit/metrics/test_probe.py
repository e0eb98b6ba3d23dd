"""The linear probe: what it separates, and what it does not depend on."""

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rhobeta.metrics.probe import probe_accuracy

Features = NDArray[np.float32]
Labels = NDArray[np.uint8]


def accuracy(
    train: Features, train_labels: Labels, test: Features, test_labels: Labels, **changes: Any
) -> float:
    settings = {"inverse_penalty": 1.0, "iterations": 100} | changes
    return probe_accuracy(train, train_labels, test, test_labels, **settings)


def clusters(count: int, seed: int) -> tuple[Features, Labels]:
    """Three classes far apart."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count).astype(np.uint8)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    return (centres[labels] + random.normal(size=(count, 2))).astype(np.float32), labels


def whispers(count: int, seed: int) -> tuple[Features, Labels]:
    """Two classes that differ little, under a loud noise that both features share."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count).astype(np.uint8)
    noise = random.normal(size=count)
    signal = np.where(labels == 1, 0.2, -0.2) + 0.02 * random.normal(size=count)
    return np.stack([signal + noise, noise], axis=1).astype(np.float32), labels


def test_probe_separates_distant_classes() -> None:
    assert accuracy(*clusters(150, 0), *clusters(100, 1)) == 1


def test_probe_on_noise_is_at_chance() -> None:
    random = np.random.default_rng(0)
    train = random.random((500, 4), dtype=np.float32)
    test = random.random((2000, 4), dtype=np.float32)
    train_labels = random.integers(0, 4, 500).astype(np.uint8)
    test_labels = random.integers(0, 4, 2000).astype(np.uint8)
    # Five standard deviations of a share of 1/4 among 2000.
    spread = 5 * np.sqrt(0.25 * 0.75 / 2000)
    assert accuracy(train, train_labels, test, test_labels) == pytest.approx(0.25, abs=spread)


@pytest.mark.parametrize("scale", [2.0**-13, 2.0**10])
@pytest.mark.parametrize("inverse_penalty", [0.003, 1.0, 100.0])
def test_probe_does_not_depend_on_scale(scale: float, inverse_penalty: float) -> None:
    (train, train_labels), (test, test_labels) = whispers(400, 0), whispers(300, 1)
    scale32 = np.float32(scale)
    # A power of two, so that nothing is rounded.
    assert accuracy(
        scale32 * train,
        train_labels,
        scale32 * test,
        test_labels,
        inverse_penalty=inverse_penalty,
    ) == accuracy(train, train_labels, test, test_labels, inverse_penalty=inverse_penalty)


def test_probe_does_not_depend_on_an_offset() -> None:
    (train, train_labels), (test, test_labels) = clusters(150, 0), clusters(100, 1)
    assert accuracy(train + 300, train_labels, test + 300, test_labels) == 1


def test_probe_keeps_proportions_of_features() -> None:
    # Were every feature scaled by itself, the faint one that tells the classes would be loud.
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 300).astype(np.uint8)
    faint = 1e-3 * (labels * 2.0 - 1)
    features = np.stack([faint, random.normal(size=300)], axis=1).astype(np.float32)
    assert accuracy(features, labels, features, labels, inverse_penalty=0.1) < 0.7


def test_probe_centres_test_features_by_training_means() -> None:
    (train, train_labels), (test, test_labels) = clusters(150, 0), clusters(100, 1)
    of_one = test_labels == 1
    assert accuracy(train, train_labels, test[of_one], test_labels[of_one]) == 1


def test_probe_penalty_limits_the_fit() -> None:
    train = whispers(400, 0)
    strong, weak = (accuracy(*train, *train, inverse_penalty=c) for c in (1e-3, 1e3))
    assert strong < 0.8
    assert weak > 0.99


def test_probe_with_few_iterations_does_not_warn() -> None:
    train = whispers(400, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        few = accuracy(*train, *train, inverse_penalty=1e3, iterations=1)
        many = accuracy(*train, *train, inverse_penalty=1e3, iterations=100)
    assert few < many


def test_probe_on_constant_features_gives_the_top_class() -> None:
    train, test = np.full((6, 2), 0.5, np.float32), np.full((4, 2), 0.5, np.float32)
    train_labels = np.array([7, 7, 7, 7, 3, 3], np.uint8)
    test_labels = np.array([7, 3, 3, 3], np.uint8)
    assert accuracy(train, train_labels, test, test_labels) == 1 / 4
