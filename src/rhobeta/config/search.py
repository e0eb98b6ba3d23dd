"""The section `tune` of `params.yaml`: what `rhobeta tune` searches for, and how."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from rhobeta.config.bounds import Bound
from rhobeta.config.renamed import PARAMETERS, current_metric
from rhobeta.config.sections import (
    ModelParams,
    ParamSection,
    PenaltyParams,
    Seed,
    Text,
    TopKParams,
    TrainingParams,
)
from rhobeta.errors import did_you_mean

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
    "rare_units": "units rarely active above 0.1",
    "dead_share": "dead units, share of all",
    "probe": "accuracy of a linear probe",
}
"""What a trial is measured by on the validation split, each with its name in words."""

NEED_RHO = ("rho_target", "rho_hat_distance")
AFTER_TRAINING = ("probe",)
"""Measured once, at the end, so that no trial can be pruned by it."""

SEARCHED = ("model", "penalty", "topk", "training")
"""The sections that a model depends on."""
SEED = "training.seed"

_SECTIONS: tuple[type[ParamSection], ...] = (ModelParams, PenaltyParams, TopKParams, TrainingParams)
_PARAMETERS = {
    f"{name}.{key}": field
    for name, section in zip(SEARCHED, _SECTIONS, strict=True)
    for key, field in section.model_fields.items()
}
_RULE = re.compile(r"best\s+(\S+)(?:\s+where\s+(.+))?")
_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


class Dimension(TypedDict, total=False):
    """One searched parameter: from `low` to `high`, or one of `choices`."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    low: Any
    high: Any
    log: bool
    choices: list[Any]


@dataclass(frozen=True)
class Rule:
    """How one trial of the front is chosen: its knee, or the best by one objective."""

    best: str | None
    """The objective; None for the knee."""
    bounds: tuple[Bound, ...] = ()


class TuneParams(ParamSection):
    """The search for parameters; no stage depends on it."""

    study: Annotated[Text, Field(min_length=1, max_length=100)]
    """Its name, 1 to 100 characters; another name begins another study."""
    mode: Literal["pareto", "single"]
    """pareto: the front of two or three objectives; single: one objective, which may be pruned."""
    objectives: dict[str, Literal["minimize", "maximize"]]
    """Metrics of the validation split, each minimize or maximize; docs/tuning.md lists them."""
    constraints: Annotated[list[Text], Field(max_length=10)]
    """0 to 10 of METRIC <= NUMBER or METRIC >= NUMBER that a trial on the front must keep."""
    space: dict[str, Dimension]
    """Parameters of model, penalty, topk and training by path: low, high and log, or choices."""
    choose: Text
    """Which trial of the front: knee, or best METRIC where BOUND, such as best fvu where
    gini >= 0.8."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    """Finished trials of the study in all, pruned ones included, 1 to 1000000."""
    startup_trials: Annotated[int, Field(ge=1, le=100_000)]
    """Trials drawn at random before the sampler (TPE) learns from them, 1 to 100000."""
    seed: Seed
    """Seed of the sampler, 0 to 4294967295."""
    seeds: Annotated[int, Field(ge=0, le=100)]
    """Further seeds that each trial on the front is trained with, 0 or 2 to 100; the choice is by
    their means."""
    pruner: Literal["none", "median", "halving", "hyperband"]
    """none, median, halving, hyperband: what ends trials early; all but none for mode single."""
    probe_images: Annotated[int, Field(ge=10, le=10_000_000)]
    """First training images that the probe is fitted on, 10 to 10000000."""
    workers: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]
    """Processes that run trials, 1 to 1024; auto: cores / runtime.threads (auto: 1 each), or one a
    GPU."""
    storage: Text | None
    """URL of a database that machines share; null: sqlite in mlruns; RHOBETA_TUNE_STORAGE
    overrides it."""
    heartbeat: Annotated[int, Field(ge=1, le=3600)]
    """Seconds between signs of life, 1 to 3600; a worker without one for three times as
    long is lost."""

    @property
    def bounds(self) -> list[Bound]:
        """The constraints."""
        return [_bound(text, "constraints") for text in self.constraints]

    @property
    def rule(self) -> Rule:
        """How one trial of the front is chosen."""
        return _parse_rule(self.choose, self.objectives)

    @property
    def metrics(self) -> list[str]:
        """All metrics that objectives, constraints and rule ask for, each once."""
        bounds = [bound.metric for bound in (*self.bounds, *self.rule.bounds)]
        return list(dict.fromkeys([*self.objectives, *bounds]))

    @model_validator(mode="after")
    def _objectives_fit_mode(self) -> Self:
        for name in self.objectives:
            _require_metric(name, "objectives")
        found, names = len(self.objectives), ", ".join(self.objectives) or "none"
        if found not in ((1,) if self.mode == "single" else (2, 3)):
            raise ValueError(
                f"objectives: found {found} ({names}) with tune.mode {self.mode}, allowed: one with"
                " tune.mode single, two or three with tune.mode pareto"
            )
        late = set(self.objectives) & set(AFTER_TRAINING)
        if self.pruner != "none" and (self.mode == "pareto" or late):
            raise ValueError(
                f"pruner: found {self.pruner} with tune.mode {self.mode} and {names}, allowed:"
                " none; pruning needs tune.mode single and an objective measured every epoch"
            )
        return self

    @model_validator(mode="after")
    def _bounds_and_rule_are_readable(self) -> Self:
        seen = [(bound.metric, bound.at_most) for bound in self.bounds]
        if len(set(seen)) < len(seen):
            raise ValueError(f"constraints: found {self.constraints}, which bounds a metric twice")
        _ = self.rule
        if self.seeds == 1:
            raise ValueError(
                "seeds: found 1, allowed: 0, or 2 to 100, since one seed shows no spread"
            )
        return self

    @model_validator(mode="after")
    def _dimensions_are_possible(self) -> Self:
        if not self.space:
            raise ValueError("space: found an empty section, allowed: one parameter or more")
        for path, dimension in self.space.items():
            _check_dimension(path, dimension)
        return self


def _bound(text: str, key: str) -> Bound:
    bound = Bound.parse(text, key)
    _require_metric(bound.metric, key)
    return bound


def _require_metric(name: str, key: str) -> None:
    if name in METRICS:
        return
    known = ", ".join(METRICS)
    near = did_you_mean(current_metric(name), METRICS)
    raise ValueError(f"{key}: found the metric {name!r}, allowed: {known}{near}")


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
            f"{did_you_mean(match[1], known)}"
        )
    parts = re.split(r"\s+and\s+", match[2]) if match[2] else []
    return Rule(match[1], tuple(_bound(part, "choose") for part in parts))


def _check_dimension(path: str, dimension: Dimension) -> None:
    """Raise `ValueError` where a dimension, or a value in it, is not one of its parameter."""
    key = f"space.{path}"
    if path not in _PARAMETERS:
        new = PARAMETERS.get(path)
        hint = f". Did you mean {new}?" if new else did_you_mean(path, _PARAMETERS)
        raise ValueError(f"{key}: unknown, allowed: parameters of {', '.join(SEARCHED)}{hint}")
    if path == SEED:
        raise ValueError(f"{key}: a seed is not searched; tune.seeds repeats the trials")
    given: dict[str, Any] = dict(dimension)
    if given.keys() not in ({"choices"}, {"low", "high"}, {"low", "high", "log"}):
        found = ", ".join(sorted(given)) or "an empty section"
        raise ValueError(f"{key}: found {found}, allowed: low and high (and log), or choices")
    choices, log = given.pop("choices", None), given.pop("log", False)
    for label, value in given.items() if choices is None else [("choices", c) for c in choices]:
        _check_value(f"{key}.{label}", value, _PARAMETERS[path])
    if choices is not None:
        if len({repr(choice) for choice in choices}) < max(2, len(choices)):
            raise ValueError(f"{key}: found choices {choices}, allowed: two or more, no repeats")
        return
    low, high = given["low"], given["high"]
    if isinstance(low, bool) or not isinstance(low, int | float) or low >= high:
        raise ValueError(f"{key}: found {low} to {high}, allowed: numbers, low below high")
    if log and low <= 0:
        raise ValueError(f"{key}: found log true with low {low}, allowed: low above 0")


def _check_value(key: str, value: Any, field: FieldInfo) -> None:
    annotation: Any = field.annotation
    for part in field.metadata:
        annotation = Annotated[annotation, part]
    try:
        TypeAdapter(annotation, config=_STRICT).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{key}: found {value!r}: {error.errors()[0]['msg']}") from None
