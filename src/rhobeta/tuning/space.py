"""From the search space to a trial's parameters, and back."""

import json
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, Trial

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEED, Dimension

_JSON = "json:"
_DIGITS = 4


def suggest(trial: Trial, params: Params, *, seed: bool) -> dict[str, Any]:
    """The values of a trial by path, drawn now or taken from the queue.

    Numbers have four significant digits, so that params.yaml gets short values, and exactly those
    that were trained. A parameter that is a whole number in `params` is drawn as one. With `seed`
    there is one for the training as well, as for repeats of a trial.
    """
    now = flatten(params)
    for path, dimension in params.tune.space.items():
        _draw(trial, path, dimension, whole=isinstance(now[path], int))
    if seed:
        trial.suggest_int(SEED, 0, 2**32 - 1)
    return values_of(trial)


def values_of(trial: Trial | FrozenTrial) -> dict[str, Any]:
    """A trial's values by path, as they are trained."""
    return {path: _value(v, trial.distributions[path]) for path, v in trial.params.items()}


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


def _value(stored: Any, distribution: BaseDistribution) -> Any:
    if isinstance(stored, str) and stored.startswith(_JSON):
        return json.loads(stored.removeprefix(_JSON))
    # Studies of early versions hold more digits than were trained.
    return rounded(stored, distribution)
