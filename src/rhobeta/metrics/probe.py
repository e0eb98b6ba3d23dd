"""The linear probe: accuracy of a logistic regression on a representation (Alain, Bengio, 2016)."""

import warnings
from functools import cache

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
    `iterations` L-BFGS steps. They end where no entry of the mean loss's gradient is above 1e-4,
    scikit-learn's default; that they ended before is printed, once. Both representations ([images,
    features]) are centred by the training means and divided by one number, the root mean square of
    the centred training features. So C means the same for codes of any scale, and raw pixels keep
    their proportions. With `overwrite` this happens in place, which saves a copy of
    both.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    mean, spread = mean_and_spread(train)
    scale = np.float32(spread)
    # The products are bound by memory: a second thread gains nothing, and slows a busy machine.
    with warnings.catch_warnings(), threadpool_limits(1):
        # Its text is about scaling the data, which is done here.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe = LogisticRegression(C=inverse_penalty, max_iter=iterations).fit(
            _scaled(train, mean, scale, overwrite=overwrite), train_labels
        )
    if probe.n_iter_.max() >= iterations:
        _note_early_stop(iterations)
    return float(probe.score(_scaled(test, mean, scale, overwrite=overwrite), test_labels))


@cache
def _note_early_stop(iterations: int) -> None:
    """Print it once: a stage fits many probes."""
    print(
        f"note: a probe was stopped after evaluate.probe_iterations = {iterations}, before it had"
        " converged; a last digit of its accuracy may depend on that of its features",
        flush=True,
    )


def _scaled(
    values: NDArray[np.float32], mean: NDArray[np.float64], scale: np.float32, *, overwrite: bool
) -> NDArray[np.float32]:
    out = values if overwrite else None
    scaled: NDArray[np.float32] = np.subtract(values, mean.astype(np.float32), out=out)
    scaled /= scale
    return scaled
