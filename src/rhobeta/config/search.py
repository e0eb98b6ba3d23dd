"""Whether the search space of `tune` names parameters, and values that they may have."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from pydantic import BaseModel, ValidationError

from rhobeta.config.tuning_section import NEED_RHO, TuneParams, ends_of, nearest
from rhobeta.extensions import PENALTY_SPECS

SEARCHED = ("model", "penalty", "topk", "training")
"""The sections that a model is made by."""
SEED = "training.seed"
_MOST_CORNERS = 4096


def fault_of_search(tune: TuneParams, values: BaseModel, pipeline: type[BaseModel]) -> str | None:
    """What is wrong with the search beside the other parameters, if anything.

    `values` are all parameters, `pipeline` the model that checks them. Each end of each dimension,
    and each choice, must be a value that the parameter may have, and must fit the others for some
    of their ends or choices.
    """
    now = {name: getattr(values, name).model_dump() for name in pipeline.model_fields}
    known = [f"{section}.{key}" for section in SEARCHED for key in now[section]]
    for path in tune.space:
        if path not in known:
            return _unknown(path, known, now)
        if path == SEED:
            return (
                f"tune.space.{path}: the search cannot change it, since a lucky seed is no setting;"
                " tune.seeds repeats the trainings on the front with several"
            )
    for path, dimension in tune.space.items():
        for label, value in _labelled(dimension):
            fault = _fault_of_value(path, value, now, pipeline)
            if fault is not None:
                return f"tune.space.{path}.{label}: {fault.removeprefix(f'{path}: ')}"
    return _fault_of_corners(tune, now, pipeline) or _fault_of_metrics(tune, now)


def overlaid(now: Mapping[str, Mapping[str, Any]], overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values with some replaced, by dotted path."""
    nested = {section: dict(values) for section, values in now.items()}
    for path, value in overlay.items():
        section, _, key = path.partition(".")
        nested[section][key] = value
    return nested


def _unknown(path: str, known: list[str], now: Mapping[str, Mapping[str, Any]]) -> str:
    section, _, key = path.partition(".")
    if section not in SEARCHED and key in now.get(section, {}):
        return (
            f"tune.space.{path}: the search cannot change it, since a model does not depend on it;"
            f" allowed: parameters of {', '.join(SEARCHED)}"
        )
    # A key alone is the likelier slip than a whole path that is like no other.
    same_key = [name for name in known if name.rpartition(".")[2] == path.rpartition(".")[2]]
    hint = f". Did you mean {same_key[0]}?" if same_key else nearest(path, known)
    return f"tune.space.{path}: unknown parameter{hint}"


def _labelled(dimension: Any) -> list[tuple[str, Any]]:
    if "choices" in dimension:
        return [("choices", value) for value in dimension["choices"]]
    return [("low", dimension["low"]), ("high", dimension["high"])]


def _fault_of_value(
    path: str, value: Any, now: Mapping[str, Mapping[str, Any]], pipeline: type[BaseModel]
) -> str | None:
    try:
        pipeline.model_validate(overlaid(now, {path: value}))
    except ValidationError as error:
        # A fault without a place is of a combination, which other dimensions may mend.
        if error.errors()[0]["loc"]:
            return _in_words(error, pipeline)
    kept = now[path.partition(".")[0]][path.partition(".")[2]]
    if isinstance(kept, bool | str | list) and not isinstance(value, type(kept)):
        return f"found {value}, allowed: values like {kept!r}, in a list of choices"
    return None


def _fault_of_corners(
    tune: TuneParams, now: Mapping[str, Mapping[str, Any]], pipeline: type[BaseModel]
) -> str | None:
    paths = list(tune.space)
    corners = list(product(*(ends_of(tune.space[path]) for path in paths)))
    fitting: dict[str, list[Any]] = {path: [] for path in paths}
    reasons: dict[tuple[str, str], str] = {}
    for corner in corners[:_MOST_CORNERS]:
        values = dict(zip(paths, corner, strict=True))
        try:
            pipeline.model_validate(overlaid(now, values))
        except ValidationError as error:
            for path, value in values.items():
                reasons[path, repr(value)] = _in_words(error, pipeline)
        else:
            for path, value in values.items():
                fitting[path].append(value)
    if len(corners) > _MOST_CORNERS:
        return None
    for path in paths:
        for label, value in _labelled(tune.space[path]):
            if value not in fitting[path]:
                return f"tune.space.{path}.{label}: found {value}: {reasons[path, repr(value)]}"
    return None


def _fault_of_metrics(tune: TuneParams, now: Mapping[str, Mapping[str, Any]]) -> str | None:
    kinds = tune.space.get("penalty.kind", {}).get("choices", [now["penalty"]["kind"]])
    for kind in kinds:
        if not PENALTY_SPECS[kind].uses_rho:
            for name in tune.metrics:
                if name in NEED_RHO:
                    return (
                        f"tune.objectives: found {name} with penalty.kind {kind}, which has no"
                        " rho to be near to"
                    )
    return None


def _in_words(error: ValidationError, pipeline: type[BaseModel]) -> str:
    from rhobeta.config.messages import describe_faults

    return describe_faults(error, pipeline)[0]
