"""The front, and the one trial of it that a stated rule chooses. Pure functions on numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.config.search import Rule
from rhobeta.errors import RhobetaError


@dataclass(frozen=True)
class TrialRow:
    """One trial of a study."""

    number: int
    measures: Mapping[str, float]
    """Its validation metrics; empty if it is not complete."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Its parameters by path."""
    state: str = "complete"
    """complete, pruned, failed, lost, running, waiting, or invalid: not of this search."""
    keeps_bounds: bool = True
    run_id: str = ""
    note: str = ""
    """The error of a failed trial, the epoch of a pruned one, what is wrong with an invalid one."""


def front_of(trials: Sequence[TrialRow], objectives: Mapping[str, str]) -> list[TrialRow]:
    """Those that no other beats: as good in every objective, and better in one.

    `objectives` maps metrics to `minimize` or `maximize`. In the order of the first objective, the
    best first; of trials that are equal in all, every one is kept.
    """
    if not trials:
        return []
    costs = _costs(trials, objectives)
    kept = [
        trial
        for trial, cost in zip(trials, costs, strict=True)
        if not ((costs <= cost).all(1) & (costs < cost).any(1)).any()
    ]
    first = next(iter(objectives))
    sign = _sign(objectives[first])
    return sorted(kept, key=lambda trial: (sign * trial.measures[first], trial.number))


def choose(front: Sequence[TrialRow], objectives: Mapping[str, str], rule: Rule) -> TrialRow:
    """The trial of the front that the rule names.

    The knee is the point farthest below the plane through the ends of the front, each objective
    scaled to [0, 1] over the front, 0 being best: the one with the smallest sum. `best A where
    B <= b` is the best A of those on the front that keep the bounds. Of equals, the first trial.
    Raises `RhobetaError` where the front is empty, or nothing on it keeps the bounds.
    """
    if not front:
        raise RhobetaError(
            "No finished trial keeps all of tune.constraints, so there is no front to choose from."
            "\nLoosen them, widen tune.space, or run more trials."
        )
    asked = {bound.metric for bound in rule.bounds}
    lacking = [trial for trial in front if asked - set(trial.measures)]
    if lacking:
        unmeasured = {metric for trial in lacking for metric in asked - set(trial.measures)}
        raise RhobetaError(
            f"tune.choose: {len(lacking)} of the {len(front)} trials on the front were not measured"
            f" by {', '.join(sorted(unmeasured))}.\nBound another metric, or name another study in"
            " tune.study."
        )
    keeping = [
        trial
        for trial in front
        if all(bound.excess(trial.measures[bound.metric]) <= 0 for bound in rule.bounds)
    ]
    if not keeping:
        raise RhobetaError(_nothing_keeps(front, rule))
    if rule.best is None:
        scores = _scaled(_costs(keeping, objectives)).sum(1)
    else:
        scores = _costs(keeping, {rule.best: objectives[rule.best]})[:, 0]
    ranked = sorted(
        zip(scores, keeping, strict=True), key=lambda pair: (round(pair[0], 12), pair[1].number)
    )
    return ranked[0][1]


def rule_in_words(rule: Rule, objectives: Mapping[str, str]) -> str:
    """How the choice is made, as a person would say it."""
    if rule.best is None:
        return (
            f"the knee of the front: each of {', '.join(objectives)} scaled to [0, 1] over the"
            " front, 0 being best, the trial of the smallest sum"
        )
    best = "lowest" if objectives[rule.best] == "minimize" else "highest"
    bounds = " and ".join(str(bound) for bound in rule.bounds)
    return f"the {best} {rule.best} on the front" + (f" where {bounds}" if bounds else "")


def _sign(direction: str) -> int:
    return 1 if direction == "minimize" else -1


def _costs(trials: Sequence[TrialRow], objectives: Mapping[str, str]) -> NDArray[np.float64]:
    """What is to be small (shape: [trials, objectives])."""
    return np.array(
        [
            [_sign(direction) * trial.measures[name] for name, direction in objectives.items()]
            for trial in trials
        ]
    )


def _scaled(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    least, span = costs.min(0), np.ptp(costs, axis=0)
    scaled: NDArray[np.float64] = (costs - least) / np.where(span > 0, span, 1)
    return scaled


def _nothing_keeps(front: Sequence[TrialRow], rule: Rule) -> str:
    ranges = []
    for bound in rule.bounds:
        values = [trial.measures[bound.metric] for trial in front]
        ranges.append(f"{bound.metric} is {min(values):.4g} to {max(values):.4g} there")
    asked = " and ".join(str(bound) for bound in rule.bounds)
    return (
        f"No trial on the front of {len(front)} has {asked}: {'; '.join(ranges)}.\n"
        "Loosen the bound in tune.choose, or run more trials."
    )
