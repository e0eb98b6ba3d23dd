"""A study in its database: opened once for one search, and its trials counted by state."""

import re
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from rhobeta.config.params import Params, flatten
from rhobeta.config.renamed import current_metric, current_parameters
from rhobeta.config.search import SEARCHED
from rhobeta.errors import RhobetaError
from rhobeta.tuning.sampler import NumberedTPE, pruner_of

ERROR = "error"
"""User attribute of a failed trial: its error."""
MEASURES = "measures"
"""User attribute of a complete trial: its validation metrics."""
RUN = "mlflow_run_id"
"""User attribute of a trial: its MLflow run."""
QUEUED = "queued"
"""User attribute of a trial whose values were put into the queue, not drawn."""

FINISHED_STATES = (TrialState.COMPLETE, TrialState.PRUNED)
"""States that count towards the number of trials asked for."""

_IDENTITY = "rhobeta"
_LONGEST_REASON = 200
# What Optuna raises for entries that it did not write.
_UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError,
    ValueError,
)  # fmt: skip
_BEING_MADE_SECONDS = 30
_OBJECTIVES = "tune.objectives"
_DIRECTIONS = "directions of the objectives"
_CONSTRAINTS = "tune.constraints"


@dataclass(frozen=True)
class StudyIdentity:
    """Which search a study belongs to."""

    id: str
    """Drawn when the study was made; its MLflow runs carry it."""
    fingerprint: dict[str, Any]
    code: str
    """SHA-256 of the code that trains and measures."""


def seeds_study(name: str) -> str:
    """The name of the study that repeats another's front with further seeds."""
    return f"{name} (seeds)"


def fingerprint_of(params: Params, data_sha256: str) -> dict[str, Any]:
    """What comparable trials have in common: search, data, and all that is not searched."""
    tune = params.tune
    fixed: dict[str, Any] = {}
    for section in SEARCHED:
        fixed |= flatten(getattr(params, section), f"{section}.")
    fingerprint: dict[str, Any] = {
        "tune.mode": tune.mode,
        _OBJECTIVES: dict(tune.objectives),
        _CONSTRAINTS: sorted(str(bound) for bound in tune.bounds),
        "data (SHA-256)": data_sha256,
        **{f"tune.space.{path}": dict(dimension) for path, dimension in tune.space.items()},
        **{path: value for path, value in fixed.items() if path not in tune.space},
    }
    # The rule alone changes no trial: it is applied to the trials that there are.
    if "probe" in {*tune.objectives, *(bound.metric for bound in tune.bounds)}:
        fingerprint["tune.probe_images"] = tune.probe_images
        fingerprint["evaluate.probe_penalty"] = params.evaluate.probe_penalty
    return fingerprint


def open_study(
    storage: RDBStorage, name: str, params: Params, fingerprint: Mapping[str, Any], code: str
) -> tuple[Study, StudyIdentity]:
    """Make the study of that name, or join it if it is of the same search.

    Several machines may do so at once. Raises `RhobetaError` with the difference where the study
    is of another search.
    """
    directions = list(params.tune.objectives.values())
    try:
        optuna.create_study(storage=storage, study_name=name, directions=directions)
    except optuna.exceptions.DuplicatedStudyError:
        study = load_study(storage, name, params)
        identity = _wait_for_identity(study)
        if identity is None:
            if study.get_trials(deepcopy=False):
                raise _foreign_study(name) from None
            # Its maker was interrupted before it could say what the study is.
            identity = _identify(study, fingerprint, code)
        require_same_search(study, identity, fingerprint)
        return study, identity
    study = load_study(storage, name, params)
    # The names that optuna-dashboard shows.
    study.set_metric_names(list(params.tune.objectives))
    return study, _identify(study, fingerprint, code)


def _identify(study: Study, fingerprint: Mapping[str, Any], code: str) -> StudyIdentity:
    identity = StudyIdentity(uuid.uuid4().hex, dict(fingerprint), code)
    study.set_user_attr(_IDENTITY, vars(identity))
    return identity


def load_study(storage: RDBStorage, name: str, params: Params) -> Study:
    """The study with the sampler and pruner of the parameters, once it was read whole.

    Raises `KeyError` if it is absent, `RhobetaError` if something in it cannot be read.
    """
    try:
        if name in optuna.get_all_study_names(storage):
            study = optuna.load_study(
                study_name=name,
                storage=storage,
                sampler=NumberedTPE(params.tune.seed, params.tune.startup_trials),
                pruner=pruner_of(params),
            )
            # Optuna keeps the finished trials that it has read.
            if any(trial.number is None for trial in study.get_trials(deepcopy=False)):
                raise ValueError("a trial has no number")
            _ = study.user_attrs, study.metric_names
            return study
    except _UNREADABLE as error:
        reason = f"{type(error).__name__} {' '.join(str(error).split())}"[:_LONGEST_REASON]
        raise RhobetaError(
            f"The study {name!r} has an entry in its database that Optuna cannot read: {reason}\n"
            "Bring back a copy of the database, or name another study in tune.study."
        ) from error
    raise KeyError(name)


def require_identity(study: Study) -> StudyIdentity:
    """Which search the study belongs to. Raises `RhobetaError` if another program made it."""
    identity = identity_of(study)
    if identity is not None:
        return identity
    if study.get_trials(deepcopy=False):
        raise _foreign_study(study.study_name)
    raise RhobetaError(
        f"The study {study.study_name!r} has no trials yet.\n`rhobeta tune` runs it."
    )


def identity_of(study: Study) -> StudyIdentity | None:
    """Which search the study belongs to, in today's names; None if it does not say."""
    try:
        found = study.user_attrs[_IDENTITY]
        fingerprint = current_parameters(found["fingerprint"])
        objectives = fingerprint.get(_OBJECTIVES, {})
        fingerprint[_OBJECTIVES] = {current_metric(name): way for name, way in objectives.items()}
        bounds = fingerprint.get(_CONSTRAINTS, [])
        fingerprint[_CONSTRAINTS] = sorted(current_metric(bound) for bound in bounds)
        identity = StudyIdentity(found["id"], fingerprint, found["code"])
    except (KeyError, TypeError, AttributeError):
        return None
    # The id becomes part of queries to the MLflow store.
    return identity if re.fullmatch(r"\w{1,32}", str(identity.id)) else None


def require_same_search(study: Study, identity: StudyIdentity, asked: Mapping[str, Any]) -> None:
    """Raise `RhobetaError` with the difference where the study is of another search."""
    directions = [direction.name.lower() for direction in study.directions]
    has = identity.fingerprint | {_DIRECTIONS: directions}
    asked = {**asked, _DIRECTIONS: list(asked[_OBJECTIVES].values())}
    lines = [
        f"  {key}: the study has {has.get(key, 'nothing')}, params.yaml {asked.get(key, 'nothing')}"
        for key in dict.fromkeys([*has, *asked])
        if _differs(key, has, asked)
    ]
    if lines:
        raise RhobetaError(
            f"The study {study.study_name!r} is of another search; its trials cannot be compared"
            " with new ones:\n"
            + "\n".join(lines)
            + "\nName another study in tune.study, or set these back"
            " to continue, as -S PATH=VALUE does for one command."
        )


def state_of(trial: FrozenTrial) -> str:
    """complete, pruned, running, waiting, failed (with an error) or lost (its worker ended)."""
    if trial.state == TrialState.FAIL:
        return "failed" if ERROR in trial.user_attrs else "lost"
    return str(trial.state.name.lower())


def count_states(study: Study) -> Counter[str]:
    """How many trials are in which state of `state_of`."""
    return Counter(state_of(trial) for trial in study.get_trials(deepcopy=False))


def finished_trials(counts: Counter[str]) -> int:
    """How many trials count towards the number asked for."""
    return counts["complete"] + counts["pruned"]


def too_many_failures(counts: Counter[str]) -> bool:
    """Whether at least ten trainings failed, and more than finished."""
    return counts["failed"] >= 10 and counts["failed"] > finished_trials(counts)


def _wait_for_identity(study: Study) -> StudyIdentity | None:
    # Another machine makes the study first, and sets its attributes a moment later.
    end = time.monotonic() + _BEING_MADE_SECONDS
    while (identity := identity_of(study)) is None and time.monotonic() < end:
        if study.get_trials(deepcopy=False):
            break
        time.sleep(0.2)
    return identity


def _foreign_study(name: str) -> RhobetaError:
    return RhobetaError(
        f"The database holds a study {name!r} that rhobeta did not make.\n"
        "Choose another name in tune.study."
    )


def _differs(key: str, has: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    if key == _OBJECTIVES:
        # A trial's values are stored in this order.
        return list(has.get(key, {}).items()) != list(asked.get(key, {}).items())
    return bool(has.get(key) != asked.get(key))
