"""The linear probe: accuracy of a logistic regression on a representation (Alain, Bengio, 2016)."""

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.logistic import COARSE, TOLERANCE, Weights, fit, log_loss, logits
from rhobeta.metrics.moments import mean_and_spread
from rhobeta.utils.threads import cores

Features = NDArray[np.float32]

# Of the training rows, where there are no validation rows: every tenth chooses C.
_HELD_OUT = 10
# Most training rows of the fits that choose C.
_CHOOSING = 10_000
# Images a feature: with more, a copy without constant features takes memory and saves little.
_MANY_IMAGES = 20


class Representation(NamedTuple):
    """Features of the training, validation and test images (shapes: [images, features])."""

    train: Features
    validation: Features
    test: Features


class Labels(NamedTuple):
    """Labels of the training, validation and test images (shapes: [images])."""

    train: NDArray[Any]
    validation: NDArray[Any]
    test: NDArray[Any]


def probe_accuracy(
    features: Representation,
    labels: Labels,
    *,
    inverse_penalties: Sequence[float],
    overwrite: bool = False,
) -> float:
    """Test accuracy, in [0, 1], of multinomial logistic regression fitted on the training images.

    Minimises sum over images of log-loss + 1 / (2 C) |W|^2 until it has converged (`logistic`);
    that it has not is printed, once. C is that of `inverse_penalties`, ascending, with the lowest
    log-loss on the validation images, tried with at most 10,000 training images, every n-th of all;
    the first after which it rises ends the search. Without validation images every tenth training
    image takes their place. The features are centred by the training means and divided by one
    number, the root mean square of the centred training features. So C means the same for codes of
    any scale, and raw pixels keep their proportions. With `overwrite` this happens in place, which
    saves a copy.
    """
    from threadpoolctl import threadpool_limits

    # The products are bound by memory: a second thread gains nothing, and slows a busy machine.
    with threadpool_limits(1):
        return _accuracy(features, labels, inverse_penalties, overwrite=overwrite)


def probe_accuracies(
    tasks: Iterable[tuple[Representation, Labels]], *, inverse_penalties: Sequence[float]
) -> list[float]:
    """`probe_accuracy` of each task, as many at a time as there are cores.

    The cores have one probe each, so the numbers are those of one after another.
    """
    from threadpoolctl import threadpool_limits

    def accuracy(task: tuple[Representation, Labels]) -> float:
        features, labels = task
        return _accuracy(features, labels, inverse_penalties)

    with threadpool_limits(1), ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(accuracy, tasks))


def _accuracy(
    features: Representation,
    labels: Labels,
    inverse_penalties: Sequence[float],
    *,
    overwrite: bool = False,
) -> float:
    mean, spread = mean_and_spread(features.train)
    scaled = _in_row_space(
        Representation(
            *(_scaled(x, mean, np.float32(spread), overwrite=overwrite) for x in features)
        )
    )
    classes, y = np.unique(labels.train, return_inverse=True)
    best, start = _chosen(scaled, labels, inverse_penalties)
    weights = _converged(
        scaled.train,
        y,
        len(classes),
        inverse_penalty=best,
        start=start if start.shape[1] == len(classes) else None,
        tolerance=TOLERANCE,
    )
    predicted = classes[logits(scaled.test, weights).argmax(1)]
    return float((predicted == labels.test).mean())


def _chosen(
    features: Representation, labels: Labels, inverse_penalties: Sequence[float]
) -> tuple[float, Weights]:
    """The C of lowest log-loss on the validation images, and the weights that it was tried with.

    Validation images of classes that the training images have not are left out; where none is left,
    the first C is taken.
    """
    train, of_train = features.train, labels.train
    validation, of_validation = features.validation, labels.validation
    if not len(validation):
        held_out = np.arange(len(train)) % _HELD_OUT == _HELD_OUT - 1
        validation, of_validation = train[held_out], of_train[held_out]
        train, of_train = train[~held_out], of_train[~held_out]
    part = slice(None, None, math.ceil(len(train) / _CHOOSING))
    train, of_train = train[part], of_train[part]
    classes, y = np.unique(of_train, return_inverse=True)
    known = np.isin(of_validation, classes)
    validation, target = validation[known], np.searchsorted(classes, of_validation[known])
    best: tuple[float, Weights] | None = None
    lowest, weights = np.inf, None
    for inverse_penalty in inverse_penalties:
        # From the weights of the last C few steps are left.
        weights = _converged(
            train,
            y,
            len(classes),
            inverse_penalty=inverse_penalty,
            start=weights,
            tolerance=COARSE,
        )
        loss = log_loss(logits(validation, weights), target) if len(target) else np.inf
        if best is not None and loss >= lowest:
            break
        best, lowest = (inverse_penalty, weights), loss
    if best is None:
        raise ValueError("no inverse penalties; expected at least one")
    return best


def _converged(
    x: Features,
    y: NDArray[np.intp],
    classes: int,
    *,
    inverse_penalty: float,
    start: Weights | None,
    tolerance: float,
) -> Weights:
    found = fit(x, y, classes, inverse_penalty=inverse_penalty, start=start, tolerance=tolerance)
    if not found.converged:
        _note_no_convergence(inverse_penalty)
    return found.weights


@cache
def _note_no_convergence(inverse_penalty: float) -> None:
    """Print it once: a stage fits many probes."""
    print(
        f"note: a probe with C = {inverse_penalty:g} did not converge; a last digit of its accuracy"
        " may depend on that of its features",
        flush=True,
    )


def _in_row_space(features: Representation) -> Representation:
    """The features in coordinates of the space that the training images span, if they are few.

    The weights that minimise the objective lie in it, so the probe stays the same.
    """
    images, width = features.train.shape
    if images < _MANY_IMAGES * width:
        # Features that are constant: pixels at the border.
        varies = features.train.any(0)
        features = Representation(*(x[:, varies] for x in features))
        width = features.train.shape[1]
    if images >= width:
        return features
    axes, _ = np.linalg.qr(features.train.T.astype(np.float64))
    return Representation(*(x @ axes.astype(np.float32) for x in features))


def _scaled(
    values: Features, mean: NDArray[np.float64], scale: np.float32, *, overwrite: bool
) -> Features:
    out = values if overwrite else None
    scaled: Features = np.subtract(values, mean.astype(np.float32), out=out)
    scaled /= scale
    return scaled
