"""What changes from step to step: the learning rate, and k of a topk code."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rhobeta.config.sections import TopKParams


def lr_factor(step: int, steps_per_epoch: int, epochs: int, schedule: str) -> float:
    """The learning rate of `step` (from 0), as a fraction of its highest value.

    constant: 1. cosine: a linear warm-up from 1/steps_per_epoch to 1 over the first epoch, times
    (1 + cos(pi step / all steps)) / 2. A single epoch has no warm-up.
    """
    if schedule == "constant":
        return 1.0
    warmup = min(1.0, (step + 1) / steps_per_epoch) if epochs > 1 else 1.0
    return warmup * (1 + math.cos(math.pi * step / (steps_per_epoch * epochs))) / 2


def annealed_k(step: int, steps: int, topk: "TopKParams") -> int:
    """The number of active units at `step` (from 0) of `steps`.

    It falls linearly from `topk.start` at the first step to `topk.k` once the fraction
    `topk.anneal` of the steps is done, rounded, and never falls below `topk.k`.
    """
    fall = topk.anneal * steps
    done = min(1.0, step / fall) if fall > 0 else 1.0
    return max(topk.k, round(topk.start + (topk.k - topk.start) * done))
