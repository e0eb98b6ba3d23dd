"""The gate before @champion: thresholds, and the rule against the present champion, on numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rhobeta.config.bounds import Bound

_DECIMALS = 12


@dataclass(frozen=True)
class Check:
    """One rule, and whether it is kept."""

    kept: bool
    text: str


@dataclass(frozen=True)
class Verdict:
    """All rules together."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether every rule is kept."""
        return all(check.kept for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What was not kept."""
        return tuple(check.text for check in self.checks if not check.kept)


def against_thresholds(bounds: Iterable[Bound], metrics: Mapping[str, float]) -> Verdict:
    """Each bound on the metric itself; a metric that is absent or NaN keeps none."""
    return Verdict(tuple(_on_threshold(bound, metrics.get(bound.metric)) for bound in bounds))


def against_champion(
    margins: Iterable[Bound], metrics: Mapping[str, float], champion: Mapping[str, float]
) -> Verdict:
    """Each margin on the difference d = metric - champion's; and one metric must be better.

    `metric <= m` asks for d <= m, and d < 0 is better; `metric >= m` asks for d >= m, and d > 0 is
    better. So a model may be worse than the champion in each metric by what its margin allows, if
    it is better in another. Without margins there is nothing to compare, and nothing is refused.
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
    # NaN is neither above nor below, and keeps nothing.
    kept = bound.excess(value) <= 0
    sign = "<=" if bound.at_most else ">="
    return Check(
        kept, f"{bound.metric} {value:.6g}, {'' if kept else 'not '}{sign} {bound.limit:g}"
    )
