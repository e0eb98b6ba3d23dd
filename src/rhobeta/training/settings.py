"""How a model is trained: plain values, and the courses that follow from them."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class TopK:
    """How a topk code comes to its k, and what is done for units that never get among the k."""

    start: int
    """k of the first step; it falls linearly to the architecture's, rounded."""
    anneal: float
    """Share of all steps over which it falls, in [0, 1]."""
    auxk_coef: float
    """Weight of the loss that lets silent units try (see `rhobeta.model.auxk`); 0 for none."""


@dataclass(frozen=True)
class Optimization:
    """How the weights are found: Adam, and the course of its step size."""

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    """lambda of the term lambda / 2 * |W|^2 over all weights; biases are left out."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise added to the input; the target stays clean."""
    unit_norm_decoder: bool = False
    """Whether what each unit draws is scaled to length 1 after every step."""
    keep: str = "best"
    """Whose weights are kept: those of the `best` epoch by validation loss, or of the `last`."""
    precision: str = "float32"
    """In which the network computes: float32, float64; bf16, fp16: mixed, the objective float32."""
    topk: TopK | None = None
    """For topk codes only."""


@dataclass(frozen=True)
class Measurement:
    """What the statistics of every epoch count as active, dead and constant."""

    l0_thresholds: tuple[float, ...] = (0.1, 0.5)
    dead_threshold: float = 0.1
    constant_std: float = 0.01


def lr_factor(step: int, steps_per_epoch: int, epochs: int, schedule: str) -> float:
    """The learning rate of `step` (from 0) as a share of its highest.

    constant: 1. cosine: linear from 1/steps_per_epoch to 1 over the first epoch, multiplied by
    (1 + cos(pi step / all steps)) / 2. A single epoch has no warm-up.
    """
    if schedule == "constant":
        return 1.0
    warmth = min(1.0, (step + 1) / steps_per_epoch) if epochs > 1 else 1.0
    return warmth * (1 + math.cos(math.pi * step / (steps_per_epoch * epochs))) / 2


def annealed_k(step: int, steps: int, k: int, topk: TopK) -> int:
    """How many units are active at `step` (from 0) of `steps`.

    Linear from `topk.start` at the first step to `k` once the share `topk.anneal` of the steps is
    done, rounded; never below k.
    """
    fall = topk.anneal * steps
    done = min(1.0, step / fall) if fall > 0 else 1.0
    return max(k, round(topk.start + (k - topk.start) * done))
