"""Means that penalties are functions of: of one batch, of several, and over time.

Means of two batches combine by their sizes. The running mean has the value of many batches and the
gradient of the present one.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LogMeans(NamedTuple):
    """Logarithms of the mean activation of each unit and of its complement."""

    log_q: Tensor
    """log q_j (shape: [units])."""
    log_not_q: Tensor
    """log (1 - q_j) (shape: [units])."""


class Mean(NamedTuple):
    """A plain mean: of each unit's code (shape: [units]), or of a penalty over images (scalar)."""

    value: Tensor


Means = LogMeans | Mean


def joined(first: Means, second: Means, share: float) -> Means:
    """The mean of two batches together, `second` having the fraction `share` of the images.

    `share` is in (0, 1]. Raises `TypeError` for means of different kinds.

    >>> joined(Mean(torch.tensor([0.2])), Mean(torch.tensor([0.8])), share=0.25)
    Mean(value=tensor([0.3500]))
    """
    if share == 1:
        return second
    if isinstance(first, LogMeans) and isinstance(second, LogMeans):
        rest, part = math.log1p(-share), math.log(share)
        pairs = zip(first, second, strict=True)
        return LogMeans(*(torch.logaddexp(a + rest, b + part) for a, b in pairs))
    if isinstance(first, Mean) and isinstance(second, Mean):
        return Mean((1 - share) * first.value + share * second.value)
    raise TypeError(f"a {type(first).__name__} and a {type(second).__name__} have no joint mean")


def detached(means: Means) -> Means:
    """The same values, with no gradient."""
    return type(means)(*(values.detach() for values in means))


def with_gradient(means: Means, batch: Means) -> Means:
    """The values of `means`, with the gradient of `batch`: dq = dq_batch.

    For logarithms d log q = dq_batch / q, where dq_batch / q = (q_batch / q) d log q_batch.
    """
    if isinstance(means, LogMeans):
        pairs = [(m.detach(), torch.exp(b - m.detach())) for m, b in zip(means, batch, strict=True)]
        return LogMeans(*(m + (ratio - ratio.detach()) for m, ratio in pairs))
    value = batch[0]
    return Mean(means.value.detach() + (value - value.detach()))


class RunningMean:
    """The mean over the last batches, with the gradient of the present one.

    A batch has the weight max(share, 1 / batches so far), so the first batch counts in full and
    there is no start value to forget. With `share` 1 every batch counts alone. It serves penalties
    on a mean where one batch is too small to estimate the mean: the KL of a noisy mean is too high
    by about Var(a) / (2 B rho (1 - rho)) a unit, for batches of B images.
    """

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share: found {share}, allowed: (0, 1]")
        self._share = share
        self._batches = 0
        self._value: Means | None = None

    def update(self, batch: Means) -> Means:
        """Add a batch's mean; returns the running mean with the gradient of the batch."""
        if self._share == 1:
            return batch
        self._batches += 1
        now = detached(batch)
        if self._value is not None:
            now = joined(self._value, now, max(self._share, 1 / self._batches))
        self._value = now
        return with_gradient(now, batch)

    def state_dict(self) -> dict[str, Any]:
        """The batches so far, as plain values and tensors."""
        value = self._value
        kind = None if value is None else type(value).__name__
        return {"batches": self._batches, "kind": kind, "value": [] if value is None else [*value]}

    def load_state_dict(self, state: dict[str, Any], device: torch.device) -> None:
        """Restore `state` on `device`."""
        self._batches = state["batches"]
        values = [value.to(device) for value in state["value"]]
        kinds = {None: None, "LogMeans": LogMeans, "Mean": Mean}
        kind = kinds[state["kind"]]
        self._value = None if kind is None else kind(*values)


def running_share(rho: float, batch_size: int, enough: float) -> float:
    """The weight of a batch in the running mean: 1 where rho * batch_size is `enough` or more.

    Otherwise 2 / (T + 1) with T = enough / (rho * batch_size): an exponential mean of that weight
    has the variance of a mean over T batches.

    >>> running_share(rho=0.05, batch_size=256, enough=10)
    1.0
    >>> round(running_share(rho=0.05, batch_size=16, enough=10), 4)  # T = 12.5 batches
    0.1481
    """
    return min(1.0, 2 / (enough / (rho * batch_size) + 1))
