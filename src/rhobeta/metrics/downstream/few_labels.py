"""Accuracy with few labels: a classifier sees few labelled images of each class.

This is semi-supervised evaluation as in self-taught learning (Raina et al., 2007): the code is
learned without labels, the classifier from the few.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.probe import probe_accuracy

Representation = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Features of the training and of the test images (shapes: [images, features])."""

_FEW, _MANY = 30, 300


def few_label_accuracies(
    representations: Mapping[str, Representation],
    train_labels: NDArray[np.uint8],
    test_labels: NDArray[np.uint8],
    *,
    labels_per_class: Sequence[int],
    inverse_penalty: float,
    iterations: int,
    seed: int,
) -> dict[str, dict[int, float]]:
    """Test accuracy of each representation by the number n of labelled images of each class.

    The classifier is that of `probe_accuracy`, fitted on n images of each class. The mean is taken
    over five draws for n below 30, three below 300 and one above, since the spread falls as the
    cost rises. All representations see the same draws; smaller sets of a draw are subsets of its
    larger ones. Every class must have as many images as the largest n.
    """
    accuracies: dict[str, dict[int, float]] = {name: {} for name in representations}
    for n in labels_per_class:
        draws = [draw(train_labels, n, seed=seed, number=i) for i in range(draws_of(n))]
        for name, (train, test) in representations.items():
            scores = [
                probe_accuracy(
                    train[rows],
                    train_labels[rows],
                    test,
                    test_labels,
                    inverse_penalty=inverse_penalty,
                    iterations=iterations,
                )
                for rows in draws
            ]
            accuracies[name][n] = float(np.mean(scores))
    return accuracies


def draws_of(labels_per_class: int) -> int:
    """Number of draws that the mean is taken over.

    >>> [draws_of(n) for n in (10, 100, 1000)]
    [5, 3, 1]
    """
    return 5 if labels_per_class < _FEW else 3 if labels_per_class < _MANY else 1


def draw(labels: NDArray[np.uint8], per_class: int, *, seed: int, number: int) -> NDArray[np.intp]:
    """Indices of `per_class` images of each class, ascending: draw `number` of `seed`."""
    random = np.random.default_rng([seed, number])
    chosen = [
        random.permutation(np.flatnonzero(labels == c))[:per_class] for c in np.unique(labels)
    ]
    return np.sort(np.concatenate(chosen), kind="stable")
