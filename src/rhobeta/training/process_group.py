"""The processes that train one model together, and what they exchange.

Each has a slice of every mini-batch. The mean activation, which the penalty is a function of, is
that of the whole mini-batch: the mean of per-process KLs is not the KL of the global mean.
"""

import math
from collections.abc import Callable
from functools import reduce
from typing import TypeVar

import torch
from torch import Tensor, distributed

from rhobeta.model.means import LogMeans, Mean, Means, with_gradient

T = TypeVar("T")


class ProcessGroup:
    """The processes of a training; `rank` is this one's number, from 0, of `size`.

    For a single process every method returns its argument.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    def mean(self, share: Means, weight: float) -> Means:
        """The mean over all processes' images, with this process's part of its gradient.

        `share` is the mean over this process's images, which are the fraction `weight` of all, in
        [0, 1]. The result has the value of the global mean and the gradient of `share`. If each
        process multiplies its loss by `weight`, the sum of the processes' gradients is then that
        of the global mean: for q = sum_r w_r q_r and any function f, df(q) = sum_r w_r f'(q) dq_r.
        """
        if self.size == 1:
            return share
        if isinstance(share, LogMeans):
            own = torch.cat([value.detach() for value in share])
            own = own + (math.log(weight) if weight > 0 else -math.inf)
            shares = own.new_empty(self.size * len(own))
            distributed.all_gather_into_tensor(shares, own)
            return with_gradient(
                LogMeans(*torch.logsumexp(shares.reshape(self.size, 2, -1), 0)), share
            )
        total = share.value.detach() * weight
        distributed.all_reduce(total)
        return with_gradient(Mean(total), share)

    def total(self, values: Tensor) -> Tensor:
        """Sum over the processes (any shape), the same in each."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def largest(self, values: Tensor) -> Tensor:
        """The largest of each value in any process (any shape, numbers), the same in each."""
        if self.size > 1:
            distributed.all_reduce(values, op=distributed.ReduceOp.MAX)
        return values

    def any(self, flags: Tensor) -> Tensor:
        """Which flags are true in any process (shape and type of `flags`, bool)."""
        return flags if self.size == 1 else self.largest(flags.to(torch.int32)) > 0

    def joined(self, own: T, join: Callable[[T, T], T]) -> T:
        """Every process's `own`, joined by `join` in the order of ranks; the same in each."""
        if self.size == 1:
            return own
        parts: list[T | None] = [None] * self.size
        distributed.all_gather_object(parts, own)
        return reduce(join, [part for part in parts if part is not None])
