"""Accuracy with few labels: a classifier sees few labelled images of each class.

This is semi-supervised evaluation as in self-taught learning (Raina et al., 2007): the code is
learned without labels, the classifier from the few.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.probe import Labels, Representation, probe_accuracies

_FEW, _MANY = 30, 300


def few_label_accuracies(
    representations: Mapping[str, Representation],
    labels: Labels,
    *,
    labels_per_class: Sequence[int],
    inverse_penalties: Sequence[float],
    seed: int,
) -> dict[str, dict[int, float]]:
    """Test accuracy of each representation by the number n of labelled images of each class.

    The classifier is that of `probe_accuracy`, fitted on n images of each class; C is chosen on as
    many validation images, or on all of a class that has fewer. The mean is taken over five draws
    for n below 30, three below 300 and one above, since the spread falls as the cost rises. All
    representations see the same draws; smaller sets of a draw are subsets of its larger ones. Every
    class must have as many training images as the largest n.
    """
    accuracies: dict[str, dict[int, float]] = {name: {} for name in representations}
    for n in labels_per_class:
        draws = [
            [draw(known, n, seed=seed, number=i) for known in (labels.train, labels.validation)]
            for i in range(draws_of(n))
        ]
        for name, (train, validation, test) in representations.items():
            tasks = [
                (
                    Representation(train[rows], validation[choosing], test),
                    Labels(labels.train[rows], labels.validation[choosing], labels.test),
                )
                for rows, choosing in draws
            ]
            scores = probe_accuracies(tasks, inverse_penalties=inverse_penalties)
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
    return np.sort(np.concatenate([*chosen, np.empty(0, np.intp)]), kind="stable")
