"""The measures as functions of whole arrays or tensors, for notebooks; `rhobeta.metrics` has them.

Defaults are those of params.yaml. The pipeline accumulates the same measures in one pass.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from rhobeta.data.batches import to_unit_interval
from rhobeta.metrics.probe import Labels, Representation, probe_accuracy
from rhobeta.metrics.reconstruction import ReconstructionAccumulator, ReconstructionQuality
from rhobeta.metrics.sparsity import SparsityAccumulator, SparsityStatistics
from rhobeta.model.inputs import input_rows, row_tensor

Values = ArrayLike | torch.Tensor


def reconstruction_quality(
    X: Values,  # noqa: N803
    X_hat: Values,  # noqa: N803
    *,
    mean: Values | None = None,
) -> ReconstructionQuality:
    """MSE, FVU and PSNR of reconstructions `X_hat` of rows or images `X`; bytes stand for [0, 1].

    FVU = sum (x - x_hat)^2 / sum (x - mean)^2. Give `mean`, that of the training rows, to measure
    other rows; None: the mean of X. PSNR has a meaning for values in [0, 1] only.

    Raises `ValueError` where the shapes differ or values are not finite.

    >>> X = np.array([[0.0, 0.0], [1.0, 1.0]])
    >>> reconstruction_quality(X, [[0.0, 0.5], [1.0, 1.0]])
    ReconstructionQuality(mse=0.0625, fvu=0.25, psnr_db=12.041199826559248)
    """
    width = math.prod(np.shape(X)[1:])
    x, rebuilt = (to_unit_interval(_tensor(v, width), torch.float64) for v in (X, X_hat))
    if x.shape != rebuilt.shape:
        raise ValueError(f"X has {len(x)} rows, X_hat {len(rebuilt)}: expected as many")
    center = x.mean(0) if mean is None else _tensor(mean, width)[0]
    measured = ReconstructionAccumulator(center)
    measured.update(x, rebuilt)
    return measured.quality()


def sparsity_statistics(
    code: Values,
    *,
    l0_thresholds: Sequence[float] = (0.1, 0.5),
    dead_threshold: float = 0.1,
    constant_std: float = 0.01,
) -> SparsityStatistics:
    """Mean activity, L0, Gini, Hoyer, Treves-Rolls, dead units, ... of a code (n, units) >= 0.

    Args:
        code: Activities of each row.
        l0_thresholds: A unit counts as active above them; `l0` has the mean count for each.
        dead_threshold: A unit that is never above this is dead, one that is never below
            1 - this is saturated.
        constant_std: A unit with a smaller standard deviation is constant.

    Raises `ValueError` for negative values, as of a tanh code: give `sae.model_.activity(code)`.

    >>> found = sparsity_statistics([[0.0, 0.9], [0.0, 0.7]])
    >>> found.l0[0.1], found.dead
    (1.0, 1)
    """
    values = _tensor(code, np.shape(code)[-1])
    if (values < 0).any():
        raise ValueError(
            "found negative values in the code; expected activities >= 0, such as"
            " sae.model_.activity(code)"
        )
    measured = SparsityAccumulator(
        l0_thresholds=l0_thresholds, dead_threshold=dead_threshold, constant_std=constant_std
    )
    measured.update(values)
    return measured.statistics()


def linear_probe(
    train: Values,
    train_labels: ArrayLike,
    test: Values,
    test_labels: ArrayLike,
    *,
    inverse_penalty: float = 1.0,
) -> float:
    """Test accuracy, in [0, 1], of a logistic regression on a code, or on anything beside it.

    `train` and `test` are (n, features), the labels any that scikit-learn takes. Both are centred
    by the training means and divided by one number, so that `inverse_penalty` (C) means the same
    for codes of any scale.
    """
    width = np.shape(train)[-1]
    first, second = (_tensor(v, width).float().numpy() for v in (train, test))
    labels: list[NDArray[Any]] = [np.asarray(v) for v in (train_labels, test_labels)]
    return probe_accuracy(
        Representation(first, first[:0], second),
        Labels(labels[0], labels[0][:0], labels[1]),
        inverse_penalties=[inverse_penalty],
    )


def _tensor(values: Values, width: int) -> torch.Tensor:
    return row_tensor(input_rows(values, width))
