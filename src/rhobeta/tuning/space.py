"""From the search space to a trial's parameters, and back."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rhobeta.config.params import Params, check_params, flatten, merged
from rhobeta.config.search import SEED, Dimension

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

_JSON = "json:"
_DIGITS = 4


def distributions_of(params: Params) -> dict[str, "BaseDistribution"]:
    """What Optuna draws each searched parameter from, by path.

    A parameter that is a whole number now is drawn as one.
    """
    now = flatten(params)
    return {path: _distribution(d, now[path]) for path, d in params.tune.space.items()}


def with_seed(distributions: Mapping[str, "BaseDistribution"]) -> dict[str, "BaseDistribution"]:
    """The same and the training's seed, for repeating trials."""
    from optuna.distributions import IntDistribution

    return {**distributions, SEED: IntDistribution(0, 2**32 - 1)}


def suggested(trial: "Trial", distributions: Mapping[str, "BaseDistribution"]) -> dict[str, Any]:
    """The values of a trial by path, drawn now where they are not yet.

    Numbers are rounded to four significant digits, so that what is written into params.yaml is
    short, and is exactly what was trained.
    """
    return {path: _value(_suggested(trial, path, d), d) for path, d in distributions.items()}


def values_of(trial: "FrozenTrial") -> dict[str, Any]:
    """A stored trial's values by path, as they were trained."""
    return {path: _value(v, trial.distributions[path]) for path, v in trial.params.items()}


def stored_choice(value: Any) -> Any:
    """A choice as a database holds it: a list as its JSON."""
    return f"{_JSON}{json.dumps(value)}" if isinstance(value, list) else value


def with_values(params: Params, values: Mapping[str, Any]) -> Params:
    """The parameters with a trial's values.

    Raises `RhobetaError` where they do not fit together.
    """
    now = {name: getattr(params, name).model_dump() for name in type(params).model_fields}
    return check_params(merged(now, values), where="the parameters of this trial")


def _value(stored: Any, distribution: "BaseDistribution") -> Any:
    from optuna.distributions import FloatDistribution

    if isinstance(distribution, FloatDistribution):
        rounded = float(f"{stored:.{_DIGITS}g}")
        return rounded if distribution.low <= rounded <= distribution.high else stored
    if isinstance(stored, str) and stored.startswith(_JSON):
        return json.loads(stored.removeprefix(_JSON))
    return stored


def _suggested(trial: "Trial", path: str, distribution: "BaseDistribution") -> Any:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(distribution, FloatDistribution):
        return trial.suggest_float(path, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        return trial.suggest_int(path, distribution.low, distribution.high, log=distribution.log)
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(path, distribution.choices)
    raise TypeError(f"{path}: no way to draw from {type(distribution).__name__}")


def _distribution(dimension: Dimension, now: Any) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if "choices" in dimension:
        return CategoricalDistribution([stored_choice(choice) for choice in dimension["choices"]])
    low, high, log = dimension["low"], dimension["high"], dimension.get("log", False)
    if isinstance(now, int):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)
