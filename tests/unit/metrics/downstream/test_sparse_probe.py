"""The k-sparse probe: which units it takes, and what it makes of them."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics import probe
from rhobeta.metrics.downstream.sparse_probe import differences, sparse_probe_accuracies
from rhobeta.metrics.probe import Representation

Features = NDArray[np.float32]
Labels = NDArray[np.uint8]


def accuracies(
    train: Features, train_labels: Labels, test: Features, test_labels: Labels, **changes: Any
) -> dict[int, float]:
    settings = {"units": [1, 2, 3], "inverse_penalty": 1.0, "seed": 0} | changes
    # No validation images: nothing is chosen by them.
    features = Representation(train, train[:0], test)
    labels = probe.Labels(train_labels, train_labels[:0], test_labels)
    return sparse_probe_accuracies(features, labels, **settings)


def one_unit_a_class(count: int, seed: int) -> tuple[Features, Labels]:
    """Units 0, 1, 2 each say one of the classes 4, 5, 9; 20 more are noise."""
    random = np.random.default_rng(seed)
    number = random.integers(0, 3, count)
    signal = np.eye(3)[number] + 0.05 * random.normal(size=(count, 3))
    features = np.concatenate([signal, random.normal(size=(count, 20))], axis=1)
    return features.astype(np.float32), np.array([4, 5, 9], np.uint8)[number]


def test_sparse_probe_finds_one_unit_for_each_class() -> None:
    found = accuracies(*one_unit_a_class(300, 0), *one_unit_a_class(200, 1))
    assert list(found) == [1, 2, 3]
    assert min(found.values()) == 1


def test_differences_by_hand() -> None:
    # Mean 0, standard deviation 1: the class has the mean 1, or 1/2, or 0; the rest the opposite.
    features = np.array([[1, 1, 1], [1, 0, -1], [-1, 0, 1], [-1, -1, -1]], np.float32)
    inside = np.array([True, True, False, False])
    np.testing.assert_allclose(differences(features, inside), [2, 1, 0])


def test_differences_do_not_depend_on_the_class_share() -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(50, 4)).astype(np.float64)
    features = ((features - features.mean(0)) / features.std(0)).astype(np.float32)
    inside = np.arange(50) < 7
    expected = np.abs(features[inside].mean(0) - features[~inside].mean(0))
    np.testing.assert_allclose(differences(features, inside), expected, rtol=1e-4)


def naive(train: Features, labels: Labels, test: Features, k: int, penalty: float) -> Labels:
    """The predicted classes, feature by feature, with another solver."""
    scores = []
    for c in np.unique(labels):
        inside = labels == c
        size = [
            abs(column[inside].mean() - column[~inside].mean()) / column.std()
            if column.std() > 0
            else 0
            for column in train.astype(np.float64).T
        ]
        chosen = np.argsort(size)[::-1][:k]
        mean, std = train[:, chosen].mean(0), train[:, chosen].std(0)
        regression = LogisticRegression(C=penalty, max_iter=1000, tol=1e-8)
        regression.fit((train[:, chosen] - mean) / std, inside)
        scores.append(regression.predict_proba((test[:, chosen] - mean) / std)[:, 1])
    return np.unique(labels)[np.argmax(scores, axis=0)]


@pytest.mark.parametrize(("k", "penalty"), [(1, 1.0), (4, 0.01), (20, 1.0)])
def test_sparse_probe_on_digits_equals_the_naive_form(
    digits: Samples, test_digits: Samples, k: int, penalty: float
) -> None:
    train, test = pixels_of(digits.values), pixels_of(test_digits.values)
    predicted = naive(train, digits.labels, test, k, penalty)
    expected = float((predicted == test_digits.labels).mean())
    found = accuracies(
        train, digits.labels, test, test_digits.labels, units=[k], inverse_penalty=penalty
    )
    # One image of 200 may lie on a border between solvers.
    assert found[k] == pytest.approx(expected, abs=0.0051)


def test_sparse_probe_with_more_units_than_there_are() -> None:
    train, test = one_unit_a_class(60, 0), one_unit_a_class(40, 1)
    found = accuracies(*train, *test, units=[23, 1000])
    assert found[23] == found[1000]


def test_sparse_probe_ignores_constant_units() -> None:
    (train, labels), (test, test_labels) = one_unit_a_class(300, 0), one_unit_a_class(200, 1)
    # A constant that no float32 holds exactly, before and after the informative units.
    still = [np.full((len(part), 5), 0.1, np.float32) for part in (train, test)]
    train, test = np.hstack([still[0], train]), np.hstack([still[1], test])
    assert accuracies(train, labels, test, test_labels, units=[1])[1] == 1


@pytest.mark.filterwarnings("error")
def test_sparse_probe_on_a_dead_code() -> None:
    train, test = np.zeros((6, 3), np.float32), np.zeros((4, 3), np.float32)
    labels, test_labels = np.array([7, 7, 7, 7, 3, 3], np.uint8), np.array([7, 3, 3, 3], np.uint8)
    assert accuracies(train, labels, test, test_labels, units=[2]) == {2: 1 / 4}


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_sparse_probe_ignores_the_scale_of_a_unit(scale: float) -> None:
    (train, labels), (test, test_labels) = one_unit_a_class(300, 0), one_unit_a_class(200, 1)
    factors = np.ones(train.shape[1], np.float32)
    factors[1] = scale
    found = accuracies(train * factors, labels, test * factors, test_labels)
    assert found == accuracies(train, labels, test, test_labels)


def test_sparse_probe_draws_from_every_class() -> None:
    random = np.random.default_rng(0)
    # 25,000 images, of which 20 are of a class that a draw without strata might miss or double.
    labels = np.where(np.arange(25_000) < 20, 1, 0).astype(np.uint8)
    train = (labels[:, None] + 0.01 * random.normal(size=(25_000, 1))).astype(np.float32)
    test = np.array([[0], [1]], np.float32)
    for seed in range(3):
        found = accuracies(train, labels, test, np.array([0, 1], np.uint8), units=[1], seed=seed)
        assert found == {1: 1.0}
