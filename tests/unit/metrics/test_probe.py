"""The linear probe: what it separates, and what it does not depend on."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics import logistic, probe
from rhobeta.metrics.probe import Features, Labels, Representation, probe_accuracies, probe_accuracy

Known = NDArray[np.uint8]


def accuracy(
    train: Features,
    train_labels: Known,
    test: Features,
    test_labels: Known,
    *,
    inverse_penalty: float = 1.0,
) -> float:
    """With a given C, so that there is nothing to choose by validation images."""
    return probe_accuracy(
        Representation(train, train[:0], test),
        Labels(train_labels, train_labels[:0], test_labels),
        inverse_penalties=[inverse_penalty],
    )


def clusters(count: int, seed: int) -> tuple[Features, Known]:
    """Three classes far apart."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count).astype(np.uint8)
    centres = np.array([[0, 0], [10, 0], [0, 10]])
    return (centres[labels] + random.normal(size=(count, 2))).astype(np.float32), labels


def whispers(count: int, seed: int) -> tuple[Features, Known]:
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


def chosen(monkeypatch: pytest.MonkeyPatch, *splits: tuple[Features, Known], **more: Any) -> float:
    """The C of the weights that score the test images."""
    used: dict[float, float] = {}

    def noted(*args: Any, inverse_penalty: float, **settings: Any) -> logistic.Fit:
        found = logistic.fit(*args, inverse_penalty=inverse_penalty, **settings)
        used[float(found.weights.sum())] = inverse_penalty
        return found

    scored: list[float] = []
    monkeypatch.setattr(probe, "fit", noted)
    monkeypatch.setattr(
        probe, "logits", lambda x, w: scored.append(used[float(w.sum())]) or logistic.logits(x, w)
    )
    features, labels = zip(*splits, strict=True)
    probe_accuracy(Representation(*features), Labels(*labels), **more)
    return scored[-1]


@pytest.mark.parametrize(("turned", "expected"), [(0, 100.0), (40, 0.001)])
def test_probe_takes_the_penalty_that_suits_validation_images(
    monkeypatch: pytest.MonkeyPatch, turned: int, expected: float
) -> None:
    # With half of the validation labels wrong, only weights near zero do not cost.
    (validation, labels), grid = clusters(80, 1), [0.001, 0.1, 100.0]
    labels = np.where(np.arange(80) < turned, (labels + 1) % 3, labels).astype(np.uint8)
    splits = (clusters(150, 0), (validation, labels), clusters(10, 2))
    assert chosen(monkeypatch, *splits, inverse_penalties=grid) == expected


def test_probe_without_validation_images_holds_out_training_images() -> None:
    (train, labels), (test, test_labels) = whispers(400, 0), whispers(300, 1)
    features = Representation(train, train[:0], test)
    known = Labels(labels, labels[:0], test_labels)
    found = probe_accuracy(features, known, inverse_penalties=[1e-3, 1e3])
    assert found == accuracy(train, labels, test, test_labels, inverse_penalty=1e3) > 0.99


def test_a_class_that_choosing_leaves_out_is_known_to_the_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe, "_CHOOSING", 50)
    train, labels = clusters(150, 0)
    # Every third training image chooses C; class 7 is among the others alone.
    train[1::30], labels[1::30] = 20, 7
    test, of_test = np.full((4, 2), 20, np.float32), np.full(4, 7, np.uint8)
    features, known = Representation(train, train, test), Labels(labels, labels, of_test)
    assert probe_accuracy(features, known, inverse_penalties=[0.1, 1.0]) == 1


def test_probes_side_by_side_are_those_of_one_after_another() -> None:
    tasks = []
    for seed in range(4):
        (train, labels), (test, of_test) = whispers(400, seed), whispers(20, seed + 4)
        known = Labels(labels, labels[:90], of_test)
        tasks.append((Representation(train, train[:90], test), known))
    grid = [1e-3, 0.01]
    alone = [probe_accuracy(*task, inverse_penalties=grid) for task in tasks]
    assert probe_accuracies(tasks, inverse_penalties=grid) == alone
    assert len(set(alone)) > 1


def test_probe_of_two_images_has_nothing_to_choose_by() -> None:
    train, labels = np.array([[0.0], [1.0]], np.float32), np.array([3, 4], np.uint8)
    features, known = Representation(train, train[:0], train), Labels(labels, labels[:0], labels)
    assert probe_accuracy(features, known, inverse_penalties=[0.1, 1.0]) == 1


def test_fit_equals_another_solver(digits: Samples) -> None:
    x = pixels_of(digits.values)[:, ::7]
    _, y = np.unique(digits.require_labels(), return_inverse=True)
    found = logistic.fit(x, y, 10, inverse_penalty=0.5)
    other = LogisticRegression(C=0.5, tol=1e-10, max_iter=10_000).fit(x.astype(np.float64), y)
    assert found.converged
    np.testing.assert_allclose(found.weights[:-1], other.coef_.T, atol=1e-5)
    intercepts = other.intercept_ - other.intercept_.mean()
    np.testing.assert_allclose(found.weights[-1], intercepts, atol=1e-5)


@pytest.mark.parametrize("inverse_penalty", [0.01, 1.0, 100.0])
def test_fit_does_not_move_with_the_last_bits_of_its_features(
    digits: Samples, inverse_penalty: float
) -> None:
    x = pixels_of(digits.values)
    _, y = np.unique(digits.require_labels(), return_inverse=True)
    towards = np.where(np.random.default_rng(0).random(x.shape) < 0.5, 0, 2).astype(np.float32)
    first, second = (
        logistic.logits(x, logistic.fit(v, y, 10, inverse_penalty=inverse_penalty).weights)
        for v in (x, np.nextafter(x, towards))
    )
    np.testing.assert_allclose(first, second, atol=2e-5)


def test_probe_says_that_it_did_not_converge(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = whispers(400, 0)
    assert accuracy(*train, *train) > 0.5
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(logistic, "_MOST_STEPS", 1)
    probe._note_no_convergence.cache_clear()
    accuracy(*train, *train, inverse_penalty=7)
    assert "note: a probe with C = 7 did not converge" in capsys.readouterr().out


def test_probe_on_constant_features_gives_the_top_class() -> None:
    train, test = np.full((6, 2), 0.5, np.float32), np.full((4, 2), 0.5, np.float32)
    train_labels = np.array([7, 7, 7, 7, 3, 3], np.uint8)
    test_labels = np.array([7, 3, 3, 3], np.uint8)
    assert accuracy(train, train_labels, test, test_labels) == 1 / 4
