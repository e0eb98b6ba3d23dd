"""A study in its database: made once, known by its fingerprint, counted by its trials' states."""

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEARCHED
from rhobeta.errors import RhobetaError
from rhobeta.tuning.sampler import NumberedTPE, pruner_of
from rhobeta.tuning.storage import MOST_RETRIES

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

ERROR = "error"
"""User attribute of a trial that failed: why."""
WITHDRAWN = "withdrawn"
"""User attribute of a trial that was begun when enough were under way, and ended at once."""
INTERRUPTED = "interrupted"
"""User attribute of a trial that was put back into the queue while it ran: its number.

The trial that continues it has all its attributes, and so this one with the other's number.
"""
MEASURES = "measures"
"""User attribute of a finished trial: all that it was measured by."""
RUN = "mlflow_run_id"
"""User attribute of a trial: its MLflow run."""

_IDENTITY = "rhobeta"
_BEING_MADE_SECONDS = 30
_OBJECTIVES = "tune.objectives"


@dataclass(frozen=True)
class Identity:
    """What a study is of."""

    id: str
    """Drawn when it was made; MLflow's runs carry it."""
    fingerprint: dict[str, Any]
    code: str
    """SHA-256 of the code that trains and measures."""


@dataclass(frozen=True)
class Counts:
    """How many trials of a study are in which state."""

    complete: int
    pruned: int
    failed: int
    """Those whose training ended in an error."""
    lost: int
    """Those whose worker died or was interrupted; each is run again."""
    running: int
    waiting: int

    @property
    def finished(self) -> int:
        """What counts towards the asked number."""
        return self.complete + self.pruned

    @property
    def hopeless(self) -> bool:
        """Whether so many trainings fail that going on makes no sense."""
        return self.failed >= 10 and self.failed > self.finished


def seeds_study(name: str) -> str:
    """The name of the study that repeats another's front with several seeds."""
    return f"{name} (seeds)"


def fingerprint_of(params: Params, data_sha256: str) -> dict[str, Any]:
    """What trials must have in common to be compared: search, data, and all that is held fixed."""
    tune = params.tune
    fixed: dict[str, Any] = {}
    for section in SEARCHED:
        fixed |= flatten(getattr(params, section), f"{section}.")
    fingerprint: dict[str, Any] = {
        "tune.mode": tune.mode,
        _OBJECTIVES: dict(tune.objectives),
        "tune.constraints": sorted(str(bound) for bound in tune.bounds),
        "data (SHA-256)": data_sha256,
        **{f"tune.space.{path}": dict(dimension) for path, dimension in tune.space.items()},
        **{path: value for path, value in fixed.items() if path not in tune.space},
    }
    # What the rule alone asks for makes no trial another: it is applied anew whenever it is asked.
    if "probe_accuracy" in {*tune.objectives, *(bound.metric for bound in tune.bounds)}:
        fingerprint["tune.probe_images"] = tune.probe_images
        fingerprint["evaluate.probe_penalty"] = params.evaluate.probe_penalty
        fingerprint["evaluate.probe_iterations"] = params.evaluate.probe_iterations
    return fingerprint


def make_or_join(
    storage: "RDBStorage", name: str, params: Params, fingerprint: Mapping[str, Any], code: str
) -> tuple["Study", Identity, bool]:
    """The study of that name, and whether it was made here: else joined, if of the same search.

    Any number of machines may do so at once. Raises `RhobetaError` that shows the difference
    where the study is of another search.
    """
    import optuna

    directions = list(params.tune.objectives.values())
    mine = Identity(uuid.uuid4().hex, dict(fingerprint), code)
    made = False
    try:
        optuna.create_study(storage=storage, study_name=name, directions=directions)
    except optuna.exceptions.DuplicatedStudyError:
        study = load_study(storage, name, params)
        identity = _identity_once_made(study)
        # Who made it has died before saying what it is of.
        abandoned = identity is None and not study.get_trials(deepcopy=False)
        if abandoned and [d.name.lower() for d in study.directions] == directions:
            study.set_user_attr(_IDENTITY, vars(mine))
            identity = mine
    else:
        study, identity, made = load_study(storage, name, params), mine, True
        # What optuna-dashboard calls the objectives.
        study.set_metric_names(list(params.tune.objectives))
        study.set_user_attr(_IDENTITY, vars(mine))
    if identity is None:
        raise of_another_program(name)
    require_same_search(name, identity, fingerprint)
    return study, identity, made


def require_same_search(name: str, identity: Identity, asked: Mapping[str, Any]) -> None:
    """Raise `RhobetaError` with the difference where the study is of another search."""
    has = identity.fingerprint
    differing = [key for key in dict.fromkeys([*has, *asked]) if _differs(key, has, asked)]
    if differing:
        raise RhobetaError(_difference(name, differing, has, asked))


def of_another_program(name: str) -> RhobetaError:
    """What to raise where a study of that name is there, and says nothing of what it is of."""
    return RhobetaError(
        f"The database holds a study {name!r} that rhobeta did not make.\n"
        "Choose another name in tune.study."
    )


def load_study(storage: "RDBStorage", name: str, params: Params) -> "Study":
    """The study with the sampler and pruner of the parameters. Raises `KeyError` if it is none."""
    import optuna

    return optuna.load_study(
        study_name=name,
        storage=storage,
        sampler=NumberedTPE(params.tune.seed, params.tune.startup_trials),
        pruner=pruner_of(params),
    )


def identity_of(study: "Study") -> Identity | None:
    """What the study is of; None before that is written, or where another program made it."""
    found = study.user_attrs.get(_IDENTITY)
    return None if found is None else Identity(**found)


def counts_of(study: "Study") -> Counts:
    """Count the trials by what became of them."""
    from optuna.trial import TrialState

    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    ended = [trial for trial in trials if trial.state == TrialState.FAIL]
    again = retried(trials)
    failed = sum(has_failed(trial, again) for trial in ended)
    withdrawn = sum(WITHDRAWN in trial.user_attrs for trial in ended)
    return Counts(
        complete=states.count(TrialState.COMPLETE),
        pruned=states.count(TrialState.PRUNED),
        failed=failed,
        lost=len(ended) - failed - withdrawn,
        running=states.count(TrialState.RUNNING),
        waiting=states.count(TrialState.WAITING),
    )


def has_failed(trial: "FrozenTrial", ended_again: set[int]) -> bool:
    """Whether a trial that did not finish did so by its own fault.

    That is: its training ended in an error, or its worker was lost so often that it is not
    repeated any more. `ended_again` are the numbers of trials whose worker was lost, and that were
    put back into the queue.
    """
    if WITHDRAWN in trial.user_attrs or was_interrupted(trial):
        return False
    return ERROR in trial.user_attrs or trial.number not in ended_again


def retried(trials: Iterable["FrozenTrial"]) -> set[int]:
    """The numbers of trials whose worker was lost, and that were put back into the queue."""
    return {n for trial in trials for n in trial.system_attrs.get("retry_history", [])}


def was_interrupted(trial: "FrozenTrial") -> bool:
    """Whether its worker has put it back into the queue, and ended it therefore."""
    return bool(trial.user_attrs.get(INTERRUPTED) == trial.number)


def is_given_up(trial: "FrozenTrial") -> bool:
    """Whether its worker was lost, as so many before, and it was not put back into the queue."""
    from optuna.trial import TrialState

    lost_before = trial.system_attrs.get("retry_history", [])
    return (
        trial.state == TrialState.FAIL
        and len(lost_before) >= MOST_RETRIES
        and not {ERROR, WITHDRAWN} & trial.user_attrs.keys()
        and not was_interrupted(trial)
    )


def is_one_too_many(study: "Study", number: int, asked: int) -> bool:
    """Whether, of the trials begun before this one, enough have finished or are under way.

    Workers that begin at the same time see each other by their numbers, so that exactly the later
    ones withdraw.
    """
    return sum(trial.number < number for trial in _live(study)) >= asked


def live_count(study: "Study") -> int:
    """How many trials have finished or are under way."""
    return len(_live(study))


def _live(study: "Study") -> list["FrozenTrial"]:
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    return study.get_trials(deepcopy=False, states=states)


def _identity_once_made(study: "Study") -> Identity | None:
    # Another machine may be between making the study and saying what it is of.
    end = time.monotonic() + _BEING_MADE_SECONDS
    while (identity := identity_of(study)) is None and time.monotonic() < end:
        if study.get_trials(deepcopy=False):
            break
        time.sleep(0.2)
    return identity


def _differs(key: str, has: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    if key == _OBJECTIVES:
        # A trial's values stand in the study in this order.
        return list(has.get(key, {}).items()) != list(asked.get(key, {}).items())
    return bool(has.get(key) != asked.get(key))


def _difference(
    name: str, differing: Iterable[str], has: Mapping[str, Any], asked: Mapping[str, Any]
) -> str:
    lines = [
        f"  {key}: the study has {_word(has.get(key))}, params.yaml {_word(asked.get(key))}"
        for key in differing
    ]
    if _OBJECTIVES in differing and has.get(_OBJECTIVES) == asked.get(_OBJECTIVES):
        lines.append("  (the objectives are the same in another order, which counts)")
    return (
        f"The study {name!r} is of another search; trials of the two are not to be compared:\n"
        + "\n".join(lines)
        + "\nName another in tune.study to begin a new one, or set these back to continue."
    )


def _word(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_word(item)}" for key, item in value.items()) + "}"
    text = str(value)
    return f"{text[:16]}..." if len(text) == 64 else text
