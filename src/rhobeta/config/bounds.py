"""Bounds on metrics, written `METRIC <= NUMBER` or `METRIC >= NUMBER`."""

import math
import re
from dataclasses import dataclass
from typing import Self

_FORM = re.compile(r"(\S+?)\s*(<=|>=)\s*(\S+)")


@dataclass(frozen=True)
class Bound:
    """`metric <= limit`, or `metric >= limit`.

    >>> bound = Bound.parse("dead_share <= 0.05", "constraints")
    >>> bound.metric, bound.limit, bound.excess(0.07) > 0
    ('dead_share', 0.05, True)
    """

    metric: str
    at_most: bool
    limit: float

    @classmethod
    def parse(cls, text: str, key: str) -> Self:
        """Read a bound. Raises `ValueError` whose message begins with the parameter `key`."""
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise ValueError(
                f"{key}: found {text!r}, allowed: METRIC <= NUMBER or METRIC >= NUMBER, such as"
                " mse <= 0.02"
            )
        try:
            limit = float(match[3])
        except ValueError:
            limit = math.nan
        if not math.isfinite(limit):
            raise ValueError(f"{key}: found {match[3]!r} in {text!r}, allowed: a number")
        return cls(match[1], match[2] == "<=", limit)

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.at_most else '>='} {self.limit:g}"

    def excess(self, value: float) -> float:
        """By how much `value` breaks the bound; 0 or less where it keeps it."""
        return value - self.limit if self.at_most else self.limit - value
