"""Few labels: how they are drawn, and that only they are learned from."""

from typing import Any

import numpy as np
import pytest

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.downstream.few_labels import draw, few_label_accuracies
from rhobeta.metrics.probe import Labels, Representation, probe_accuracy

LABELS = np.array([0, 1, 2] * 40, np.uint8)


def test_draw_holds_the_same_number_of_each_class() -> None:
    chosen = draw(LABELS, 7, seed=0, number=0)
    assert np.bincount(LABELS[chosen]).tolist() == [7, 7, 7]
    assert (np.diff(chosen) > 0).all()


def test_draws_differ_by_seed_and_number() -> None:
    drawn = {
        (seed, n): tuple(draw(LABELS, 7, seed=seed, number=n)) for seed in (0, 1) for n in (0, 1)
    }
    assert len(set(drawn.values())) == 4
    assert drawn[0, 0] == tuple(draw(LABELS, 7, seed=0, number=0))
    assert set(draw(LABELS, 3, seed=0, number=1)) < set(drawn[0, 1])


def scores(
    representations: dict[str, Representation], labels: Labels, **changes: Any
) -> dict[str, dict[int, float]]:
    settings = {"labels_per_class": [2, 30], "inverse_penalties": [0.1, 1.0], "seed": 0} | changes
    return few_label_accuracies(representations, labels, **settings)


def test_few_labels_is_the_mean_of_the_probe_over_draws(
    digits: Samples, test_digits: Samples
) -> None:
    splits = (digits, test_digits, test_digits)
    pixels = Representation(*(pixels_of(split.values) for split in splits))
    labels = Labels(*(split.require_labels() for split in splits))
    found = scores({"pixels": pixels}, labels, seed=3)
    for n, draws in ((2, 5), (30, 3)):
        single = []
        for number in range(draws):
            rows, choosing = (
                draw(known, n, seed=3, number=number) for known in (labels.train, labels.validation)
            )
            few = pixels._replace(train=pixels.train[rows], validation=pixels.validation[choosing])
            known = labels._replace(
                train=labels.train[rows], validation=labels.validation[choosing]
            )
            single.append(probe_accuracy(few, known, inverse_penalties=[0.1, 1.0]))
        assert found["pixels"][n] == pytest.approx(np.mean(single), abs=1e-12)
        assert len(set(single)) > 1
    assert found["pixels"][30] > found["pixels"][2] + 0.1


def test_few_labels_ignores_images_that_are_not_drawn() -> None:
    random = np.random.default_rng(0)
    train = random.normal(size=(120, 4)).astype(np.float32)
    test = random.normal(size=(50, 4)).astype(np.float32)
    test_labels = random.integers(0, 3, 50).astype(np.uint8)
    used = np.concatenate([draw(LABELS, 2, seed=0, number=n) for n in range(5)])
    other = train.copy()
    other[np.setdiff1d(np.arange(120), used)] = 1e6
    labels, settings = Labels(LABELS, LABELS, test_labels), {"labels_per_class": [2]}
    expected = scores({"code": Representation(train, train, test)}, labels, **settings)
    assert scores({"code": Representation(other, other, test)}, labels, **settings) == expected


def test_few_labels_scores_representations_apart() -> None:
    active = np.eye(3, dtype=np.float32)[LABELS]
    inactive = np.zeros_like(active)
    found = scores(
        {"code": Representation(*[active] * 3), "pca": Representation(*[inactive] * 3)},
        Labels(*[LABELS] * 3),
    )
    assert found == {"code": {2: 1.0, 30: 1.0}, "pca": {2: 1 / 3, 30: 1 / 3}}
