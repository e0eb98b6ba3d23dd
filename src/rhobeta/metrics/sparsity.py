"""Sparsity statistics of a code, each defined once, accumulated in float64 in one pass.

All are of the activity a >= 0 of N units over the samples of a whole split. Per sample, then
averaged:

    l0_at_t       number of units with a > t
    Gini          1 - 2 sum_k (a_(k) / |a|_1) (N - k + 1/2) / N,  a_(1) <= ... <= a_(N)
    Hoyer         (sqrt N - |a|_1 / |a|_2) / (sqrt N - 1)
    Treves-Rolls  (sum_i a_i / N)^2 / (sum_i a_i^2 / N)

Gini and Hoyer are 0 for an even code and reach 1 - 1/N and 1 for a single active unit; the
Treves-Rolls activity ratio falls from 1 to 1/N. A sample in which no unit is active counts as
even. Sources: Hurley and Rickard, "Comparing measures of sparsity", 2009 (Gini, Hoyer); Rolls and
Tovee, 1995, equation 1 (Treves-Rolls).

Per unit, over all samples: the mean activity rho_hat, its standard deviation, its range; dead if
the largest is at most `dead_threshold`, saturated if the smallest is at least 1 - that, constant
if the standard deviation is below `constant_std`. The three overlap and are counted apart. The
firing rate is the share of samples with a > t; a unit is rare if it is at most `RARE` above the
first threshold, as a dead one mostly is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rhobeta.model.fixed_order import total

RARE = 1e-3
"""The firing rate up to which a unit is rare."""


@dataclass(frozen=True)
class SparsityStatistics:
    """The statistics of one split. Tensors are float64 on the CPU."""

    mean_activity: Tensor
    """rho_hat of each unit (shape: [units])."""
    std_activity: Tensor
    """Standard deviation of each unit (shape: [units])."""
    l0: dict[float, float]
    """Mean L0 by threshold."""
    l0_counts: dict[float, Tensor]
    """By threshold: number of samples with 0, 1, ... N active units (shape: [units + 1])."""
    firing_rates: dict[float, Tensor]
    """By threshold: share of samples for which each unit is active (shape: [units])."""
    gini: float
    hoyer: float
    treves_rolls: float
    dead: int
    constant: int
    saturated: int

    def as_metrics(self, rho: float | None) -> dict[str, float]:
        """Named numbers; with the target `rho` also the distance of the units' means to it."""
        metrics: dict[str, float] = {} if rho is None else {"rho_target": rho}
        metrics |= {
            "rho_hat_mean": self.mean_activity.mean().item(),
            "rho_hat_min": self.mean_activity.min().item(),
            "rho_hat_max": self.mean_activity.max().item(),
        }
        if rho is not None:
            metrics["rho_hat_distance"] = (self.mean_activity - rho).abs().mean().item()
        metrics |= {f"l0_at_{threshold:g}": value for threshold, value in self.l0.items()}
        return metrics | {
            "gini": self.gini,
            "hoyer": self.hoyer,
            "treves_rolls": self.treves_rolls,
            "dead_units": self.dead,
            "constant_units": self.constant,
            "saturated_units": self.saturated,
            "rare_units": self.rare,
        }

    @property
    def rare(self) -> int:
        """Number of units with a firing rate of at most `RARE` above the first threshold."""
        return int((next(iter(self.firing_rates.values())) <= RARE).sum())


class SparsityAccumulator:
    """Accumulates a split's activities; `statistics` gives what the module defines."""

    def __init__(
        self, *, l0_thresholds: Sequence[float], dead_threshold: float, constant_std: float
    ) -> None:
        self._thresholds = tuple(l0_thresholds)
        self._dead_threshold = dead_threshold
        self._constant_std = constant_std
        self._samples = 0
        # Moments about the first piece's mean: about zero, a small variance would be lost.
        self._shift = self._sum = self._square_sum = torch.empty(0)
        self._smallest = self._largest = torch.empty(0)
        self._measure_sums = torch.empty(0)
        self._l0_counts: dict[float, Tensor] = {}
        self._fired: dict[float, Tensor] = {}

    def update(self, activity: Tensor) -> None:
        """Add samples (shape: [samples, units], values >= 0, at least one sample)."""
        values = activity.detach().double()
        if self._samples == 0:
            self._begin(values, activity.dtype)
        centred = values - self._shift
        self._samples += len(values)
        self._sum += centred.sum(0)
        self._square_sum += centred.square().sum(0)
        # In the code's own precision, so that a value can equal a threshold.
        self._smallest = torch.minimum(self._smallest, activity.detach().amin(0))
        self._largest = torch.maximum(self._largest, activity.detach().amax(0))
        self._measure_sums += torch.stack(
            [total(measure(values)) for measure in (gini, hoyer, treves_rolls)]
        )
        units = values.shape[1]
        for threshold, counts in self._l0_counts.items():
            active = activity > threshold
            counts += torch.bincount(active.sum(1), minlength=units + 1)
            self._fired[threshold] += active.sum(0)

    def on_cpu(self) -> "SparsityAccumulator":
        """Move all sums to the CPU, and return this accumulator."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value.cpu())
        self._l0_counts = {level: counts.cpu() for level, counts in self._l0_counts.items()}
        self._fired = {level: counts.cpu() for level, counts in self._fired.items()}
        return self

    def add(self, other: "SparsityAccumulator") -> "SparsityAccumulator":
        """Add the samples of another accumulator of the same thresholds, and return this one.

        The other's moments about its shift t are converted to this one's shift s:
        sum (x - s)^2 = sum (x - t)^2 + 2 (t - s) sum (x - t) + n (t - s)^2.
        """
        if other._samples == 0:
            return self
        if self._samples == 0:
            vars(self).update(vars(other))
            return self
        gap = other._shift - self._shift
        self._square_sum = (
            self._square_sum
            + other._square_sum
            + 2 * gap * other._sum
            + other._samples * gap.square()
        )
        self._sum = self._sum + other._sum + other._samples * gap
        self._samples += other._samples
        self._smallest = torch.minimum(self._smallest, other._smallest)
        self._largest = torch.maximum(self._largest, other._largest)
        self._measure_sums = self._measure_sums + other._measure_sums
        for threshold, counts in self._l0_counts.items():
            counts += other._l0_counts[threshold]
            self._fired[threshold] += other._fired[threshold]
        return self

    def statistics(self) -> SparsityStatistics:
        """The statistics of all samples so far. Raises `ValueError` where there are none."""
        if self._samples == 0:
            raise ValueError("no samples to take statistics of")
        mean = self._sum / self._samples
        variance = (self._square_sum / self._samples - mean.square()).clamp_min(0)
        # torch's sqrt is MKL's, whose last digit is the CPU's.
        std = variance.reciprocal().rsqrt()
        numbers = torch.arange(len(mean) + 1, dtype=torch.float64)
        counts = {threshold: value.cpu() for threshold, value in self._l0_counts.items()}
        measures = (self._measure_sums / self._samples).tolist()
        return SparsityStatistics(
            mean_activity=(mean + self._shift).cpu(),
            std_activity=std.cpu(),
            l0={t: (c * numbers).sum().item() / self._samples for t, c in counts.items()},
            l0_counts=counts,
            firing_rates={t: f.double().cpu() / self._samples for t, f in self._fired.items()},
            gini=measures[0],
            hoyer=measures[1],
            treves_rolls=measures[2],
            dead=int((self._largest <= self._dead_threshold).sum()),
            constant=int((std < self._constant_std).sum()),
            saturated=int((self._smallest >= 1 - self._dead_threshold).sum()),
        )

    def _begin(self, values: Tensor, dtype: torch.dtype) -> None:
        units = values.shape[1]
        self._shift = values.mean(0)
        self._sum = torch.zeros_like(self._shift)
        self._square_sum = torch.zeros_like(self._shift)
        self._smallest = torch.full_like(self._shift, torch.inf, dtype=dtype)
        self._largest = torch.full_like(self._shift, -torch.inf, dtype=dtype)
        self._measure_sums = values.new_zeros(3)
        self._l0_counts = {
            threshold: torch.zeros(units + 1, dtype=torch.int64, device=values.device)
            for threshold in self._thresholds
        }
        self._fired = {
            threshold: torch.zeros(units, dtype=torch.int64, device=values.device)
            for threshold in self._thresholds
        }


def gini(activity: Tensor) -> Tensor:
    """Gini index of each sample (shape: [samples, units] -> [samples]).

    >>> gini(torch.tensor([[2.0, 2.0], [0.0, 3.0]])).tolist()
    [0.0, 0.5]
    """
    units = activity.shape[1]
    ascending = _ascending(activity)
    ranks = torch.arange(1, units + 1, dtype=activity.dtype, device=activity.device)
    weighted = (ascending * (units - ranks + 0.5) / units).sum(1)
    total = ascending.sum(1)
    return torch.where(total > 0, 1 - 2 * weighted / total.clamp_min(_TINY), 0)


def hoyer(activity: Tensor) -> Tensor:
    """Hoyer's measure of each sample (shape: [samples, units] -> [samples]); 0 for one unit.

    >>> hoyer(torch.eye(4)).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    units = activity.shape[1]
    if units == 1:
        return activity.new_zeros(len(activity))
    norm = torch.linalg.vector_norm(activity, dim=1)
    ratio = activity.sum(1) / norm.clamp_min(_TINY)
    return torch.where(norm > 0, (units**0.5 - ratio) / (units**0.5 - 1), 0)


def treves_rolls(activity: Tensor) -> Tensor:
    """Treves-Rolls activity ratio of each sample (shape: [samples, units] -> [samples]).

    >>> treves_rolls(torch.tensor([[2.0, 2.0], [0.0, 3.0]])).tolist()
    [1.0, 0.5]
    """
    mean_square = activity.square().mean(1)
    ratio = activity.mean(1).square() / mean_square.clamp_min(_TINY)
    return torch.where(mean_square > 0, ratio, 1)


def _ascending(values: Tensor) -> Tensor:
    if values.device.type != "cpu":
        return values.sort(dim=1).values
    # Ten times as fast as torch's sort, which also finds the places.
    return torch.from_numpy(np.sort(values.numpy(), axis=1))


# Keeps 0 / 0 out of the branch that torch.where discards.
_TINY = 1e-300
