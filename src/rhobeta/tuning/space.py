"""From the search space to a trial's parameters, and back."""

import json
import reprlib
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, Trial

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEED, Dimension
from rhobeta.errors import RhobetaError

_JSON = "json:"
_DIGITS = 4
_SEEDS = Dimension(low=0, high=2**32 - 1)


def suggest(trial: Trial, params: Params, *, seed: bool) -> dict[str, Any]:
    """The values of a trial by path, drawn now or taken from the queue.

    Numbers have four significant digits, so that params.yaml gets short values, and exactly those
    that were trained. A parameter that is a whole number in `params` is drawn as one. With `seed`
    there is one for the training as well, as for repeats of a trial.
    """
    now = flatten(params)
    for path, dimension in _dimensions(params, seed=seed).items():
        _draw(trial, path, dimension, whole=isinstance(now[path], int))
    return values_of(trial, params, seed=seed)


def values_of(trial: Trial | FrozenTrial, params: Params, *, seed: bool) -> dict[str, Any]:
    """A trial's values by path, as they are trained; with `seed` also that of its training.

    Anyone who can write to the database can add values. Raises `RhobetaError` unless the trial has
    the parameters of `tune.space`, no others, each with a value that the space allows.
    """
    now, dimensions = flatten(params), _dimensions(params, seed=seed)
    stored: Mapping[str, Any] = trial.params
    if stored.keys() != dimensions.keys():
        raise RhobetaError(
            f"trial {trial.number} has values of {', '.join(sorted(stored)) or 'no parameter'},"
            f" expected: of {', '.join(dimensions)} (tune.space)"
        )
    return {
        path: _value(trial.number, path, stored[path], dimension, whole=isinstance(now[path], int))
        for path, dimension in dimensions.items()
    }


def rounded(value: Any, distribution: BaseDistribution) -> Any:
    """A number with four significant digits, if it stays in its interval; all else as it is."""
    if not isinstance(distribution, FloatDistribution):
        return value
    short = float(f"{value:.{_DIGITS}g}")
    return short if distribution.low <= short <= distribution.high else value


def stored_choice(value: Any) -> Any:
    """A choice as a database holds it: a list as its JSON."""
    return f"{_JSON}{json.dumps(value)}" if isinstance(value, list) else value


def _draw(trial: Trial, path: str, dimension: Dimension, *, whole: bool) -> None:
    if "choices" in dimension:
        trial.suggest_categorical(path, [stored_choice(choice) for choice in dimension["choices"]])
        return
    low, high, log = dimension["low"], dimension["high"], dimension.get("log", False)
    if whole:
        trial.suggest_int(path, int(low), int(high), log=log)
    else:
        trial.suggest_float(path, float(low), float(high), log=log)


def _dimensions(params: Params, *, seed: bool) -> dict[str, Dimension]:
    return {**params.tune.space, **({SEED: _SEEDS} if seed else {})}


def _value(number: int, path: str, stored: Any, dimension: Dimension, *, whole: bool) -> Any:
    """The value that is trained. Raises `RhobetaError` where the dimension does not allow it."""
    if "choices" in dimension:
        # By their text: True equals 1.
        known = {repr(stored_choice(choice)): choice for choice in dimension["choices"]}
        if repr(stored) in known:
            return known[repr(stored)]
        allowed = f"one of {dimension['choices']}"
    else:
        low, high = dimension["low"], dimension["high"]
        number_type = int if whole else int | float
        if isinstance(stored, number_type) and type(stored) is not bool and low <= stored <= high:
            # Studies of early versions hold more digits than were trained.
            return stored if whole else rounded(stored, FloatDistribution(low, high))
        allowed = f"{low} to {high}"
    raise RhobetaError(
        f"trial {number} has {path} {reprlib.repr(stored)}, expected: {allowed} (tune.space)"
    )
