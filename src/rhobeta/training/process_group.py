"""The processes that train one model together, and what they tell each other.

Each has a share of every mini-batch. What is a function of the whole mini-batch, such as the mean
activation that the penalty is of, is made from the shares' values, weighted by their sizes.
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

    One alone is a group too, for which every method gives back what it is given.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank = rank
        self.size = size

    def mean(self, share: Means, weight: float) -> Means:
        """The mean over all processes' images, with this process's part of its gradient.

        `share` is that of this process's images, which are the part `weight` of all, in [0, 1].
        The result has the gradient of `share`. Where each process weighs its loss by `weight`, the
        sum of the processes' gradients is then that of the one mean: for q = sum_r w_r q_r and
        any function f, df(q) = sum_r w_r f'(q) dq_r.
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
        """Which flags are up in any process (shape and type of `flags`, bool)."""
        return flags if self.size == 1 else self.largest(flags.to(torch.int32)) > 0

    def joined(self, own: T, join: Callable[[T, T], T]) -> T:
        """What `join` makes of every process's `own`, in the order of ranks, the same in each."""
        if self.size == 1:
            return own
        parts: list[T | None] = [None] * self.size
        distributed.all_gather_object(parts, own)
        return reduce(join, [part for part in parts if part is not None])
