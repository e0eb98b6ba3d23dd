"""Wrong and doubtful variants of the KL penalty and of FVU that are in use.

The package has none of them; they are registered here through `rhobeta.extensions`.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.extensions import code_activation, penalty
from rhobeta.model.penalties import bernoulli_kl, log_means_of_activity

UNITS = 64
RHO = 0.05
SMALL_BATCH = 16
RANK_BATCH = 32


def kl_of(activity: Tensor) -> Tensor:
    """KL(RHO || mean over dimension 0) of each column."""
    return bernoulli_kl(log_means_of_activity(activity), RHO)


@penalty("clamped_kl", on="code", formula="sum over units of KL(rho || min(q, 1 - 1e-6))")
def clamped_kl(code: Tensor) -> Tensor:
    """Trap 2: a mean above 1 is cut off, and with it the gradient."""
    q = code.mean(0).clamp(1e-6, 1 - 1e-6)
    return (RHO * torch.log(RHO / q) + (1 - RHO) * torch.log((1 - RHO) / (1 - q))).sum()


@penalty("eps_kl", on="code", formula="sum over units of KL(rho || q), logarithms of q + 1e-8")
def eps_kl(code: Tensor) -> Tensor:
    """Trap 3: the mean is rounded before its logarithm is taken, an epsilon hides the zero."""
    q = code.mean(0)
    low = RHO * torch.log(RHO / (q + 1e-8))
    return (low + (1 - RHO) * torch.log((1 - RHO) / (1 - q + 1e-8))).sum()


@penalty("eps_kl_half", on="code", formula="the same in float16")
def eps_kl_half(code: Tensor) -> Tensor:
    """Trap 3 in float16, where 1e-8 is 0."""
    return eps_kl(code.half()).float()


@penalty("batch_kl", on="code", formula="sum over units of KL(rho || q), q of one batch")
def batch_kl(code: Tensor) -> Tensor:
    """Trap 4: the mean of one batch, however small."""
    return kl_of(code).sum()


@penalty("mean_of_kls", on="code", formula="mean of the KLs of each rank's images")
def mean_of_kls(code: Tensor) -> Tensor:
    """Trap 5: every process takes the KL of its own mean, and the KLs are averaged."""
    return torch.stack([kl_of(part).sum() for part in torch.split(code, RANK_BATCH)]).mean()


@penalty("kl_over_features", on="code", formula="KL(rho || mean over units) of each image")
def kl_over_features(code: Tensor) -> Tensor:
    """Trap 6: `dim=1` where `dim=0` was meant; summed over the batch, as copied."""
    return kl_of(code.T).sum()


@penalty("kl_of_sigmoid", on="code", formula="sum over units of KL(rho || mean of sigmoid(a))")
def kl_of_sigmoid(code: Tensor) -> Tensor:
    """Trap 6: a sigmoid makes a ReLU code a probability, which is never below 1/2."""
    return kl_of(torch.sigmoid(code)).sum()


@penalty("kl_of_sigmoid_over_features", on="code", formula="both of these")
def kl_of_sigmoid_over_features(code: Tensor) -> Tensor:
    """Trap 6: both at once, as it is most often copied."""
    return kl_of(torch.sigmoid(code).T).sum()


# Half of the units start where a sigmoid is exactly 1 in float32, with the slope 0.
START = torch.where(torch.arange(UNITS) < UNITS // 2, 20.0, 0.0)


@code_activation("half_saturated", low=0, high=1, logits=lambda z: z + START)
def half_saturated(z: Tensor) -> Tensor:
    """A sigmoid code with half of the units saturated, as after too large a step."""
    return torch.sigmoid(z + START)


Exact = NDArray[np.float64]


def _squares(values: Exact) -> float:
    return float(np.square(values).sum())


def _mean_of_small_batches(x: Exact, x_hat: Exact, mean: Exact) -> float:
    starts = range(0, len(x), SMALL_BATCH)
    parts = [(x[s : s + SMALL_BATCH], x_hat[s : s + SMALL_BATCH]) for s in starts]
    return float(np.mean([_squares(a - b) / _squares(a - a.mean(0)) for a, b in parts]))


FVU_VARIANTS: dict[str, Callable[[Exact, Exact, Exact], float]] = {
    "sums over the split, train mean image (ours)": lambda x, x_hat, mean: (
        _squares(x - x_hat) / _squares(x - mean)
    ),
    "one mean of all pixels": lambda x, x_hat, mean: _squares(x - x_hat) / _squares(x - x.mean()),
    "no mean at all": lambda x, x_hat, mean: _squares(x - x_hat) / _squares(x),
    "each image about its own mean pixel, ratios averaged": lambda x, x_hat, mean: float(
        np.mean(np.square(x - x_hat).sum(1) / np.square(x - x.mean(1, keepdims=True)).sum(1))
    ),
    "ratios of batches of 16, each about its own mean": _mean_of_small_batches,
}
