"""The section `tune` of `params.yaml`: what `rhobeta tune` searches for, and how."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import TypedDict

from rhobeta.config.sections import Section, Seed, Text

METRICS = {
    "loss": "loss",
    "mse": "mean squared error",
    "penalty": "penalty",
    "fvu": "fraction of variance unexplained",
    "rho_target": "target mean activation",
    "rho_hat_mean": "mean activation, mean over units",
    "rho_hat_min": "mean activation, least of all units",
    "rho_hat_max": "mean activation, largest of all units",
    "rho_hat_distance": "distance of mean activations to rho",
    "l0_at_0.1": "active units per image (above 0.1)",
    "l0_at_0.5": "active units per image (above 0.5)",
    "gini": "Gini index of the code",
    "hoyer": "Hoyer's sparsity of the code",
    "treves_rolls": "Treves-Rolls activity ratio",
    "dead_units": "dead units",
    "constant_units": "constant units",
    "saturated_units": "saturated units",
    "dead_share": "dead units, share of all",
    "probe_accuracy": "accuracy of a linear probe",
}
"""What a trial is measured by on the validation split, each with its name in words."""

NEED_RHO = ("rho_target", "rho_hat_distance")
AFTER_TRAINING = ("probe_accuracy",)
"""Measured once, at the end, so that nothing can be pruned by it."""

_BOUND = re.compile(r"(\S+?)\s*(<=|>=)\s*(\S+)")
_RULE = re.compile(r"best\s+(\S+)(?:\s+where\s+(.+))?")
_PARTS = {"low", "high", "log", "choices"}
Number = int | float


class Dimension(TypedDict, total=False):
    """One searched parameter: from `low` to `high`, or one of `choices`."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # type: ignore[misc]

    low: Number
    high: Number
    log: bool
    choices: list[Any]


@dataclass(frozen=True)
class Bound:
    """`metric <= limit`, or `metric >= limit`."""

    metric: str
    at_most: bool
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.at_most else '>='} {self.limit:g}"

    def excess(self, value: float) -> float:
        """By how much `value` breaks the bound; 0 or less where it keeps it."""
        return value - self.limit if self.at_most else self.limit - value


@dataclass(frozen=True)
class Rule:
    """How one trial of the front is chosen: its knee, or the best by one objective."""

    best: str | None
    """The objective; None for the knee."""
    bounds: tuple[Bound, ...] = ()


class TuneParams(Section):
    """The search for parameters; no stage depends on it."""

    study: Annotated[Text, Field(min_length=1, max_length=100)] = Field(
        description="Name of the study; another name begins another study."
    )
    mode: Literal["pareto", "single"] = Field(
        description="pareto: the front of two or three objectives; single: the best by one."
    )
    objectives: dict[str, Literal["minimize", "maximize"]] = Field(
        description="Metrics of the validation split and what is to be done with each."
    )
    constraints: Annotated[list[Text], Field(max_length=10)] = Field(
        description="What a chosen trial must keep, such as `dead_share <= 0.05`."
    )
    space: dict[str, Dimension] = Field(
        description="Searched parameters by path, each with low, high and log, or with choices."
    )
    choose: Text = Field(
        description="How one trial of the front is chosen: `knee`, or `best METRIC where BOUND`."
    )
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        description="Finished trials that the study is to have in all, pruned ones included."
    )
    startup_trials: Annotated[int, Field(ge=1, le=100_000)] = Field(
        description="Trials drawn at random before the sampler learns from them."
    )
    seed: Seed = Field(description="Seed of the sampler.")
    seeds: Annotated[int, Field(ge=0, le=100)] = Field(
        description="Further seeds that each trial on the front is trained with, from "
        "training.seed + 1 on; the choice is then by their means. 0 for none, else two or more."
    )
    pruner: Literal["none", "median", "halving", "hyperband"] = Field(
        description="What ends trials early that will not be the best; for mode single."
    )
    probe_images: Annotated[int, Field(ge=10, le=10_000_000)] = Field(
        description="Training images, the first ones, that probe_accuracy is fitted on."
    )
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"] = Field(
        description="Processes that run trials; auto: one for as many cores as runtime.threads "
        "says (one, where that is auto), or one a GPU."
    )
    storage: Text | None = Field(
        description="URL of the database that holds the study; null: sqlite below mlruns."
    )
    heartbeat: Annotated[int, Field(ge=1, le=3600)] = Field(
        description="Seconds between signs of life; a worker silent for three times as long is "
        "taken as lost, and its trial runs again."
    )

    @property
    def bounds(self) -> list[Bound]:
        """The constraints."""
        return [parse_bound(text, "constraints") for text in self.constraints]

    @property
    def rule(self) -> Rule:
        """How one trial of the front is chosen."""
        return _parse_rule(self.choose, self.objectives)

    @property
    def metrics(self) -> list[str]:
        """All metrics that objectives, constraints and rule ask for, each once."""
        rule = self.rule
        bounds = [bound.metric for bound in (*self.bounds, *rule.bounds)]
        return list(dict.fromkeys([*self.objectives, *bounds]))

    @model_validator(mode="after")
    def _objectives_fit_mode(self) -> Self:
        for name in self.objectives:
            _require_metric(name, "objectives")
        found = len(self.objectives)
        names = ", ".join(self.objectives) or "none"
        if self.mode == "single" and found != 1:
            raise ValueError(
                f"objectives: found {found} ({names}) with tune.mode single, allowed: one; for two"
                " or three use tune.mode pareto"
            )
        if self.mode == "pareto" and not 2 <= found <= 3:
            raise ValueError(
                f"objectives: found {found} ({names}) with tune.mode pareto, allowed: two or three;"
                " for one use tune.mode single"
            )
        if self.mode == "pareto" and self.pruner != "none":
            raise ValueError(
                f"pruner: found {self.pruner} with tune.mode pareto, allowed: none, since a trial"
                " cannot be behind in all objectives before it ends; pruning is for tune.mode"
                " single"
            )
        for name in set(self.objectives) & set(AFTER_TRAINING):
            if self.pruner != "none":
                raise ValueError(
                    f"pruner: found {self.pruner} with the objective {name}, allowed: none, since"
                    f" {name} is measured only after training"
                )
        return self

    @model_validator(mode="after")
    def _some_seeds_or_none(self) -> Self:
        if self.seeds == 1:
            raise ValueError(
                "seeds: found 1, allowed: 0, or 2 to 100, since one more training tells no spread"
            )
        return self

    @model_validator(mode="after")
    def _bounds_and_rule_are_readable(self) -> Self:
        seen = [(bound.metric, bound.at_most) for bound in self.bounds]
        if len(set(seen)) < len(seen):
            raise ValueError(f"constraints: found {self.constraints}, which bounds a metric twice")
        _ = self.rule
        return self

    @model_validator(mode="after")
    def _dimensions_are_possible(self) -> Self:
        if not self.space:
            raise ValueError("space: found an empty section, allowed: one parameter or more")
        for path, dimension in self.space.items():
            fault = _fault_of(dimension)
            if fault is not None:
                raise ValueError(f"space.{path}: {fault}")
        return self


def parse_bound(text: str, key: str) -> Bound:
    """A bound of a metric that a trial has. Raises `ValueError` that begins with `key`."""
    bound = read_bound(text, key, such_as="dead_share <= 0.05")
    _require_metric(bound.metric, key)
    return bound


def read_bound(text: str, key: str, *, such_as: str) -> Bound:
    """Read `METRIC <= NUMBER` or `METRIC >= NUMBER`. Raises `ValueError` that begins with `key`."""
    match = _BOUND.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"{key}: found {text!r}, allowed: METRIC <= NUMBER or METRIC >= NUMBER, such as"
            f" {such_as}"
        )
    try:
        limit = float(match[3])
    except ValueError:
        limit = float("nan")
    # Not a number is unequal to itself.
    if limit != limit or abs(limit) == float("inf"):
        raise ValueError(f"{key}: found {match[3]!r} in {text!r}, allowed: a number")
    return Bound(match[1], match[2] == "<=", limit)


def nearest(name: str, known: Iterable[str]) -> str:
    """`. Did you mean X?` where one of `known` is like `name`, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f". Did you mean {near[0]}?" if near else ""


def ends_of(dimension: Dimension) -> list[Any]:
    """What a dimension's values lie between: low and high, or all choices."""
    if "choices" in dimension:
        return list(dimension["choices"])
    return [dimension["low"], dimension["high"]]


def _require_metric(name: str, key: str) -> None:
    if name not in METRICS:
        raise ValueError(
            f"{key}: found the metric {name!r}, allowed: {', '.join(METRICS)}"
            f"{nearest(name, METRICS)}"
        )


def _parse_rule(text: str, objectives: Iterable[str]) -> Rule:
    if text.strip() == "knee":
        return Rule(None)
    match = _RULE.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            f"choose: found {text!r}, allowed: knee, or best METRIC where BOUND (and BOUND), such"
            " as best fvu where gini >= 0.8"
        )
    known = list(objectives)
    if match[1] not in known:
        raise ValueError(
            f"choose: found best {match[1]}, allowed: one of tune.objectives, {', '.join(known)}"
            f"{nearest(match[1], known)}"
        )
    parts = re.split(r"\s+and\s+", match[2]) if match[2] else []
    return Rule(match[1], tuple(parse_bound(part, "choose") for part in parts))


def _fault_of(dimension: Dimension) -> str | None:
    given = set(dimension)
    found = ", ".join(sorted(given)) or "an empty section"
    if "choices" in given:
        if given != {"choices"}:
            return f"found {found}, allowed: choices alone, or low and high"
        choices = dimension["choices"]
        if len(choices) < 2 or any(choices.count(choice) > 1 for choice in choices):
            return f"found the choices {choices}, allowed: two or more, no repeats"
        return None
    if not {"low", "high"} <= given:
        return f"found {found}, allowed: low and high (and log), or choices"
    low, high = dimension["low"], dimension["high"]
    if low >= high:
        return f"found low {low} and high {high}, allowed: low below high"
    if dimension.get("log", False) and low <= 0:
        return f"found log true with low {low}, allowed: low above 0, where a logarithm exists"
    return None
