"""The linear probe: accuracy of a logistic regression on a representation (Alain, Bengio, 2016)."""

import warnings

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.moments import mean_and_spread


def probe_accuracy(
    train: NDArray[np.float32],
    train_labels: NDArray[np.uint8],
    test: NDArray[np.float32],
    test_labels: NDArray[np.uint8],
    *,
    inverse_penalty: float,
    iterations: int,
    overwrite: bool = False,
) -> float:
    """Test accuracy, in [0, 1], of multinomial logistic regression fitted on `train`.

    Minimises sum over images of log-loss + 1 / (2 C) |W|^2, C = `inverse_penalty`, in at most
    `iterations` L-BFGS steps. Both representations ([images, features]) are centred by the training
    means and divided by one number, the root mean square of the centred training features. So C
    means the same for codes of any scale, and raw pixels keep their proportions. With `overwrite`
    this happens in place, which saves a copy of both.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean, spread = mean_and_spread(train)
    scale = np.float32(spread)
    # The products are bound by memory: a second thread gains nothing, and slows a busy machine.
    with warnings.catch_warnings(), threadpool_limits(1):
        # The number of steps is a parameter, so stopping there is no fault.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(C=inverse_penalty, max_iter=iterations).fit(
            _scaled(train, mean, scale, overwrite=overwrite), train_labels
        )
    return float(probe.score(_scaled(test, mean, scale, overwrite=overwrite), test_labels))


def _scaled(
    values: NDArray[np.float32], mean: NDArray[np.float64], scale: np.float32, *, overwrite: bool
) -> NDArray[np.float32]:
    out = values if overwrite else None
    scaled: NDArray[np.float32] = np.subtract(values, mean.astype(np.float32), out=out)
    scaled /= scale
    return scaled
