"""The gate before @champion: thresholds, and the comparison with the present champion."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rhobeta.config.bounds import Bound

_DECIMALS = 12


@dataclass(frozen=True)
class Check:
    """A rule and whether the model keeps it."""

    kept: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """The checks of all rules."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every rule is kept."""
        return all(check.kept for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The rules that are broken."""
        return tuple(check.text for check in self.checks if not check.kept)


def against_thresholds(bounds: Iterable[Bound], metrics: Mapping[str, float]) -> Verdict:
    """Check each bound on its metric. A missing metric and NaN break every bound."""
    return Verdict(tuple(_on_threshold(bound, metrics.get(bound.metric)) for bound in bounds))


def against_champion(
    margins: Iterable[Bound], metrics: Mapping[str, float], champion: Mapping[str, float]
) -> Verdict:
    """Check each margin on d = metric - champion's metric, and that one metric is better.

    `metric <= m` requires d <= m, and d < 0 is better; `metric >= m` requires d >= m, and d > 0 is
    better. A model may thus be worse in each metric by its margin, if it is better in another.
    Without margins nothing is compared and nothing is refused.
    """
    margins = tuple(margins)
    checks = []
    better = False
    for margin in margins:
        mine, theirs = metrics.get(margin.metric), champion.get(margin.metric)
        if mine is None or theirs is None:
            who = "the model" if mine is None else "the champion"
            checks.append(Check(False, f"{margin.metric}: not measured on {who}"))
            continue
        # 0.925 - 0.93 is a little less than -0.005 in floating point.
        difference = round(mine - theirs, _DECIMALS)
        better = better or (difference < 0 if margin.at_most else difference > 0)
        kept = margin.excess(difference) <= 0
        sign = "<=" if margin.at_most else ">="
        text = f"{margin.metric} {mine:.6g}, champion {theirs:.6g}: difference {difference:+.4g}"
        checks.append(Check(kept, f"{text}, {'' if kept else 'not '}{sign} {margin.limit:g}"))
    if margins and not better:
        names = ", ".join(margin.metric for margin in margins)
        checks.append(Check(False, f"not better than the champion in any of {names}"))
    return Verdict(tuple(checks))


def _on_threshold(bound: Bound, value: float | None) -> Check:
    if value is None:
        return Check(False, f"{bound.metric}: not measured on the model")
    # False for NaN.
    kept = bound.excess(value) <= 0
    sign = "<=" if bound.at_most else ">="
    return Check(
        kept, f"{bound.metric} {value:.6g}, {'' if kept else 'not '}{sign} {bound.limit:g}"
    )
