"""The k-sparse probe: accuracy of classifiers that see k units each.

For each class c the k features of largest absolute standardised mean difference

    d_j = |mean_j(c) - mean_j(rest)| / std_j,    0 where std_j is 0,

feed a logistic regression of c against the rest. The predicted class has the largest score
(log-odds). Source of selection and probe: Gurnee et al., "Finding neurons in a haystack", 2023.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.probe import Labels, Representation

_MOST_IMAGES = 10_000
# Relative to the largest standard deviation: a feature below varies by rounding only.
_CONSTANT = 1e-6
# Of the mean loss's gradient, at which a regression has converged.
_TOLERANCE = 1e-9


def sparse_probe_accuracies(
    features: Representation,
    labels: Labels,
    *,
    units: Sequence[int],
    inverse_penalty: float,
    seed: int,
) -> dict[int, float]:
    """Test accuracy, in [0, 1], for each k of `units` (all features where there are fewer).

    Features are chosen, standardised and fitted on the training images, or on 10,000 of them that
    `seed` draws in proportion to the classes. Each regression minimises sum over images of
    log-loss + 1 / (2 C) |w|^2. C = `inverse_penalty` hardly matters: the weights are few.
    """
    train, train_labels = _drawn(features.train, labels.train, seed)
    deviation = train.std(0, dtype=np.float64)
    varies = deviation > _CONSTANT * deviation.max()
    mean = train.mean(0, dtype=np.float64).astype(np.float32)
    scale = np.where(varies, deviation, np.inf).astype(np.float32)
    train, test = (train - mean) / scale, (features.test - mean) / scale
    classes = np.unique(train_labels)
    ranked = {c: np.argsort(-differences(train, train_labels == c), kind="stable") for c in classes}
    accuracies = {}
    for k in units:
        scores = [
            _score(train, train_labels == c, test, ranked[c][:k], inverse_penalty) for c in classes
        ]
        predicted = classes[np.argmax(scores, axis=0)]
        accuracies[k] = float((predicted == labels.test).mean())
    return accuracies


def differences(
    standardised: NDArray[np.float32], inside: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The d of each feature (shape: [features]) of mean 0 and standard deviation 1 or 0."""
    share = inside.mean()
    # The means of class and rest, weighted by their shares, sum to 0.
    difference: NDArray[np.float64] = np.abs(standardised[inside].mean(0, dtype=np.float64))
    difference /= 1 - share
    return difference


def _score(
    train: NDArray[np.float32],
    inside: NDArray[np.bool_],
    test: NDArray[np.float32],
    chosen: NDArray[np.intp],
    inverse_penalty: float,
) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression

    # With few features and many images Newton needs few steps, and each is cheap.
    probe = LogisticRegression(C=inverse_penalty, solver="newton-cholesky", tol=_TOLERANCE)
    probe.fit(train[:, chosen].astype(np.float64), inside)
    score: NDArray[np.float64] = probe.decision_function(test[:, chosen].astype(np.float64))
    return score


def _drawn(
    values: NDArray[np.float32], labels: NDArray[np.uint8], seed: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    if len(values) <= _MOST_IMAGES:
        return values, labels
    random = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    sizes = np.ceil(counts * _MOST_IMAGES / len(values)).astype(int)
    chosen = [
        random.choice(np.flatnonzero(labels == c), size, replace=False)
        for c, size in zip(classes, sizes, strict=True)
    ]
    rows = np.sort(np.concatenate(chosen), kind="stable")
    return values[rows], labels[rows]
