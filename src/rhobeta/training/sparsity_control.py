"""The weight beta of the penalty from step to step: its warm-up, and the control of a target.

A target is a constraint, and beta its multiplier. Let q be the activity of the code (its mean, or
the share of units that are active), P the penalty, and W(beta) the weights that minimise
MSE + beta P. Wherever they are a minimum for some beta, they also minimise the MSE among all
weights of no larger P: so the weights of a training that holds q at the target through beta are the
best ones of that sparsity that the penalty can tell apart. As beta grows, P of W(beta) cannot grow
(add the two inequalities for beta_1 < beta_2), and with it q falls, as long as P rises with q.

The multiplier climbs on the constraint (dual ascent), here in its logarithm, so that it stays
positive and the step is relative:

    log beta <- log beta + 0.01 log(q / target)            after each optimiser step

At rest q is the target, whatever the step's factor. It converges since q falls as beta rises, and
the weights follow beta faster than beta moves: an activity twice too high changes beta by 0.7 % a
step (by more in trainings of less than 3,000 steps). The control begins after the first epoch and
the warm-up, when q means something, and ends with the last tenth of the steps: there beta stays,
and the objective is a fixed one.

With a target the KL does not pull towards the target itself. There its gradient is zero, so that it
balances the pixel loss only above the target, and to come near it beta has to be so large that all
units have the same mean: for 64 units and 0.0819 on MNIST that doubled the MSE. Towards rho = 0.2
times the target, a moderate beta holds the mean over units at the target while the units differ;
and unlike with L1, a unit below rho is pulled up, so that none dies. What rho asks for is never
reached and need not be.

Beta starts below most multipliers, in inverse proportion to the number of units, over which the
penalties sum. What a code learns under a beta far above its own it has to learn again: with 400
units the MSE was a quarter higher where beta began at eight times its last value.

Targets below rho or above the activity of a code without a penalty cannot be reached; beta then
moves to its bound.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from rhobeta.config.sections import PenaltyParams

GAIN = 0.01
"""Change of log beta a step for each unit of log(q / target)."""

STEPS = 30.0
"""Least product of that change and all steps: a short training moves beta faster."""

LARGEST_GAIN = 0.05
"""The most, however short the training is."""

INNER_RHO = 0.2
"""What the KL pulls towards, as a share of the target."""

FROZEN = 0.1
"""Last share of the steps, in which beta stays as it is."""

START = 0.064
"""Beta `auto` times the number of units, at the first step."""

BOUNDS = (1e-9, 1e3)
"""Between which beta stays."""

WEIGHT = 0.05
"""Weight of a mini-batch in the running activity."""

TOLERANCE = 0.02
"""Relative distance up to which a target counts as reached."""


class BetaControl:
    """Beta at every step.

    `penalty` are the parameters, of a code of `units` units; the training has `epochs` epochs of
    `steps_per_epoch` steps. Where activities are measured only every n-th step, `every` is n.

    >>> from types import SimpleNamespace
    >>> asked = SimpleNamespace(beta=0.5, target=None, target_above=None, warmup=0.5)
    >>> control = BetaControl(asked, units=64, steps_per_epoch=2, epochs=4)
    >>> [control.beta(step) for step in range(5)]
    [0.125, 0.25, 0.375, 0.5, 0.5]
    """

    def __init__(
        self,
        penalty: "PenaltyParams",
        *,
        units: int,
        steps_per_epoch: int,
        epochs: int,
        every: int = 1,
    ) -> None:
        steps = steps_per_epoch * epochs
        self._warmup = penalty.warmup * steps
        # From the share of active units to L0.
        self._scale = 1 if penalty.target_above is None else units
        self._share = None if penalty.target is None else penalty.target / self._scale
        self._first = max(steps_per_epoch, math.ceil(self._warmup))
        self._last = steps - math.ceil(FROZEN * steps)
        self._weight = min(1.0, WEIGHT * every)
        self._gain = min(max(GAIN, STEPS / steps), LARGEST_GAIN)
        start = first_beta(penalty, units)
        self._log_beta = math.log(max(start, BOUNDS[0])) if self._share is not None else 0.0
        self._fixed = start
        self._activity: float | None = None

    @property
    def changes(self) -> bool:
        """Whether beta is not the same number at every step."""
        return self._share is not None or self._warmup > 0

    @property
    def controls(self) -> bool:
        """Whether there is a target."""
        return self._share is not None

    def beta(self, step: int) -> float:
        """Beta of the step, from 0."""
        beta = self._fixed if self._share is None else math.exp(self._log_beta)
        return beta * min(1.0, (step + 1) / self._warmup) if self._warmup > 0 else beta

    def update(self, step: int, activity: float | None) -> None:
        """Move beta after the step; `activity` is that of its mini-batch, None where not measured.

        It is the mean activation, or the share of units whose activation is above the threshold.
        """
        if self._share is None:
            return
        if activity is not None:
            before = activity if self._activity is None else self._activity
            self._activity = before + self._weight * (activity - before)
        if self._activity is None or not self._first <= step < self._last:
            return
        excess = math.log(max(self._activity, self._share * 1e-3) / self._share)
        low, high = BOUNDS
        self._log_beta = min(
            max(self._log_beta + self._gain * excess, math.log(low)), math.log(high)
        )

    def as_metrics(self, step: int) -> dict[str, float]:
        """What an epoch's record holds after `step` steps; nothing where beta does not change."""
        if not self.changes:
            return {}
        metrics = {"beta": self.beta(max(0, step - 1))}
        if self._activity is not None:
            metrics["activity"] = self._activity * self._scale
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return {"log_beta": self._log_beta, "activity": self._activity}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state`."""
        self._log_beta, self._activity = state["log_beta"], state["activity"]


def first_beta(penalty: "PenaltyParams", units: int) -> float:
    """Beta of the first step after a warm-up.

    >>> from types import SimpleNamespace
    >>> first_beta(SimpleNamespace(beta="auto"), units=64)
    0.001
    """
    return START / units if penalty.beta == "auto" else float(penalty.beta)


def rho_of(penalty: "PenaltyParams", units: int) -> float:
    """What the KL pulls towards: rho, or with a target 0.2 times the target's share of the units.

    >>> from types import SimpleNamespace
    >>> round(rho_of(SimpleNamespace(rho=None, target=8, target_above=0.1), units=64), 3)
    0.025
    """
    if penalty.target is None:
        # The parameters hold one of both.
        return cast(float, penalty.rho)
    share = penalty.target / (1 if penalty.target_above is None else units)
    return INNER_RHO * share


def target_metric(penalty: "PenaltyParams") -> str:
    """The sparsity metric that the target is a value of."""
    above = penalty.target_above
    return "rho_hat_mean" if above is None else f"l0_at_{above:g}"


def missed_target(
    penalty: "PenaltyParams", sparsity: dict[str, float], history: Sequence[dict[str, float]]
) -> str | None:
    """What to say where the target was not reached; None where it was, or where there is none.

    `sparsity` is that of the kept weights (`ModelDescription.sparsity`), `history` the metrics of
    every epoch.
    """
    if penalty.target is None:
        return None
    name = target_metric(penalty)
    (value,) = (found for key, found in sparsity.items() if key.partition("/")[2] == name)
    if abs(value / penalty.target - 1) <= TOLERANCE:
        return None
    reached = [metrics.get(f"validation/{name}", metrics["activity"]) for metrics in history]
    distances = [abs(math.log(max(found, 1e-12) / penalty.target)) for found in reached]
    nearest = min(range(len(reached)), key=distances.__getitem__)
    return (
        f"The target {penalty.target:g} was not reached: the kept weights have {value:.4g}"
        f" ({name}) at beta = {sparsity['beta']:.3g}. Nearest was {reached[nearest]:.4g} in epoch"
        f" {nearest + 1} at beta = {history[nearest]['beta']:.3g}. More epochs may help; a target"
        " above what the code has without a penalty cannot be reached."
    )
