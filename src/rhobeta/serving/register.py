"""`rhobeta register`: a model into the registry, and @champion to it where the gate passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rhobeta.config.params import Params
from rhobeta.config.registration import RegistryParams
from rhobeta.errors import RhobetaError, did_you_mean
from rhobeta.model.model_file import read_model
from rhobeta.paths import Paths
from rhobeta.serving.gate import Check, Verdict, against_champion, against_thresholds
from rhobeta.serving.model_registry import CHAMPION, Registry
from rhobeta.serving.source import find_run, read_package
from rhobeta.tracking.run import (
    find_run_of_model,
    latest_parameters,
    runs_of_model,
)
from rhobeta.tracking.store import Store, open_store
from rhobeta.tracking.tags import DATA_TAG, MODEL_TAG, NOTE_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run as RunEntity
    from mlflow.entities.model_registry import ModelVersion

GATE_TAG = "rhobeta.gate"
REASONS_TAG = "rhobeta.gate_reasons"
_LONGEST_REASONS = 4000


@dataclass(frozen=True)
class Candidate:
    """A run, and the model that it has packaged."""

    run: "RunEntity"
    model_id: str

    @property
    def sha256(self) -> str:
        """The digest of the model's bytes."""
        return str(self.run.data.tags[MODEL_TAG])

    @property
    def data_sha256(self) -> str:
        """The digest of its data set."""
        return str(self.run.data.tags.get(DATA_TAG, ""))


def register(params: Params, paths: Paths, *, run_id: str | None, new_data: bool) -> None:
    """Register the workspace's model, or that of a run; give it the alias if the gate passes.

    The same model is registered once. `new_data` lets a model pass that is of another data set
    than the champion, by the thresholds alone. Raises `RhobetaError`, by which the command ends
    with status 1, where the model does not pass: it is then registered without the alias, tagged
    with the reasons. Where something is not as it must be, nothing is registered.
    """
    store = open_store(paths, params.runtime.experiment)
    rules = params.registry
    candidate = _candidate(store, paths, run_id, rules)
    _require_measured(candidate, rules)
    registry = Registry(store, rules.name)
    with _one_at_a_time(paths):
        registry.champion()
        version = _version_of(registry, candidate)
        champion, verdict, notes = _judged(registry, store, rules, candidate, new_data)
        moved = False
        while verdict.passed and not _is(champion, version):
            # Another registration may have come between: the last word is of the champion of now.
            if _same(registry.champion(), champion):
                registry.set_champion(version)
                moved = True
                break
            champion, verdict, notes = _judged(registry, store, rules, candidate, new_data)
        if not _is(champion, version):
            registry.tag(version, _outcome(verdict))
    for check in verdict.checks:
        print(f"  {'kept  ' if check.kept else 'BROKEN'}  {check.text}")
    for note in notes:
        print(f"  note    {note}")
    _tell(rules.name, version, champion, verdict, moved=moved)


def _candidate(store: Store, paths: Paths, run_id: str | None, rules: RegistryParams) -> Candidate:
    if run_id is None:
        run_id = _run_of_workspace_model(store, paths, rules)
    run = find_run(store, run_id)
    return Candidate(run, read_package(store, run).model_id)


def _run_of_workspace_model(store: Store, paths: Paths, rules: RegistryParams) -> str:
    saved = read_model(paths.model)
    found = find_run_of_model(store, saved.sha256)
    if found is None:
        raise RhobetaError(
            f"{paths.model} has no run in the store, and so no package and no metrics.\n"
            "`rhobeta evaluate` makes one from the model's file, and measures it."
        )
    asked = _asked(rules)
    claims = {
        run.info.run_id: [run.data.metrics.get(name) for name in asked]
        for run in runs_of_model(store, saved.sha256)
        if run.info.status == "FINISHED"
    }
    if len({tuple(measured) for measured in claims.values() if None not in measured}) > 1:
        listed = "".join(
            f"\n  {run_id}: {', '.join(f'{n} {v}' for n, v in zip(asked, measured, strict=True))}"
            for run_id, measured in claims.items()
        )
        raise RhobetaError(
            f"{len(claims)} runs claim this model, and were measured differently:{listed}\n"
            "Name one of them: `rhobeta register --run ID`; nothing was registered."
        )
    return found.run_id


def _asked(rules: RegistryParams) -> list[str]:
    """The metrics that the gate looks at, as MLflow names them."""
    bounds = (*rules.bounds, *rules.margins)
    return list(dict.fromkeys(bound.metric for bound in bounds))


def _require_measured(candidate: Candidate, rules: RegistryParams) -> None:
    known = candidate.run.data.metrics
    missing = [name for name in _asked(rules) if name not in known]
    if not missing:
        return
    run_id = candidate.run.info.run_id
    if not any(name.startswith("test/") for name in known):
        raise RhobetaError(
            f"The model of the run {run_id} was not measured on the test split, so that"
            f" {', '.join(missing)} cannot be held against params.yaml's section registry.\n"
            "`rhobeta evaluate` measures the workspace's model; nothing was registered."
        )
    raise RhobetaError(
        f"The run {run_id} has no metric {missing[0]}, which params.yaml's section registry asks"
        f" for{did_you_mean(missing[0], known)}\nName metrics as MLflow shows them in the run;"
        " nothing was registered."
    )


def _version_of(registry: Registry, candidate: Candidate) -> "ModelVersion":
    """The version that is this model, made where there is none."""
    before = registry.versions_of(candidate.sha256)
    if before:
        print(f"this model is registered already: {_named_version(registry.name, before[0])}")
        return before[0]
    made = registry.add(
        model_id=candidate.model_id,
        run_id=candidate.run.info.run_id,
        tags={MODEL_TAG: candidate.sha256, DATA_TAG: candidate.data_sha256},
        description=candidate.run.data.tags.get(NOTE_TAG, ""),
    )
    first = registry.versions_of(candidate.sha256)[0]
    if first.version != made.version:
        # Another machine registered the same model at the same moment.
        registry.remove(made)
    print(f"registered {_named_version(registry.name, first)}")
    return first


def _judged(
    registry: Registry, store: Store, rules: RegistryParams, candidate: Candidate, new_data: bool
) -> tuple["ModelVersion | None", Verdict, list[str]]:
    """The present champion, and what the gate says of the candidate beside it."""
    champion = registry.champion()
    metrics = candidate.run.data.metrics
    checks = against_thresholds(rules.bounds, metrics).checks
    if champion is None or champion.tags.get(MODEL_TAG) == candidate.sha256:
        return champion, Verdict(checks), []
    data = champion.tags.get(DATA_TAG)
    if data != candidate.data_sha256:
        if new_data:
            return champion, Verdict(checks), ["another data set than the champion's: not compared"]
        whose = f"data {data[:16]}..." if data else "data that nobody noted"
        text = (
            f"the champion, version {champion.version}, was measured on {whose}, this model on"
            f" {candidate.data_sha256[:16]}...: their numbers cannot be compared; --new-data lets"
            " the thresholds alone decide"
        )
        return champion, Verdict((*checks, Check(False, text))), []
    theirs = _run_of(store, champion)
    measured = {} if theirs is None else theirs.data.metrics
    compared = against_champion(rules.margins, metrics, measured).checks
    return champion, Verdict((*checks, *compared)), _other_measures(candidate.run, theirs)


def _run_of(store: Store, version: "ModelVersion") -> "RunEntity | None":
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_run(version.run_id)
    except MlflowException:
        return None


def _other_measures(mine: "RunEntity", theirs: "RunEntity | None") -> list[str]:
    """In which parameters of `evaluate` the two runs differ, for the reader to judge."""
    if theirs is None:
        return []
    ours, others = _evaluate_parameters(mine), _evaluate_parameters(theirs)
    return [
        f"measured with {name} {ours.get(name)}, the champion with {others.get(name)}"
        for name in sorted(ours.keys() | others.keys())
        if ours.get(name) != others.get(name)
    ]


def _evaluate_parameters(run: "RunEntity") -> dict[str, str]:
    return {k: v for k, v in latest_parameters(run).items() if k.startswith("evaluate.")}


def _outcome(verdict: Verdict) -> dict[str, str]:
    checks = verdict.checks if verdict.passed else tuple(c for c in verdict.checks if not c.kept)
    reasons = "; ".join(check.text for check in checks)
    return {
        GATE_TAG: "passed" if verdict.passed else "refused",
        REASONS_TAG: reasons[:_LONGEST_REASONS],
    }


def _tell(
    name: str,
    version: "ModelVersion",
    champion: "ModelVersion | None",
    verdict: Verdict,
    *,
    moved: bool,
) -> None:
    mine = f"version {version.version}"
    if moved:
        before = "there was none" if champion is None else f"before: version {champion.version}"
        print(f"@{CHAMPION} of {name} is {mine} ({before})")
        return
    if verdict.passed:
        print(f"{mine} of {name} is @{CHAMPION} already")
        return
    broken = "".join(f"\n  {reason}" for reason in verdict.reasons)
    if _is(champion, version):
        raise RhobetaError(
            f"{mine} of {name} is @{CHAMPION} and stays it, but breaks rules of params.yaml's"
            f" section registry:{broken}"
        )
    stays = "there is none" if champion is None else f"which stays version {champion.version}"
    raise RhobetaError(
        f"{mine} of {name} is registered, but is not made @{CHAMPION} ({stays}), since it breaks"
        f" rules of params.yaml's section registry:{broken}"
    )


@contextmanager
def _one_at_a_time(paths: Paths) -> Iterator[None]:
    from filelock import FileLock

    # Of one machine; registrations from others are seen by reading the champion again.
    paths.store.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.store / ".registry.lock"):
        yield


def _named_version(name: str, version: "ModelVersion") -> str:
    return f"version {version.version} of {name} (run {version.run_id})"


def _is(champion: "ModelVersion | None", version: "ModelVersion") -> bool:
    return champion is not None and champion.version == version.version


def _same(one: "ModelVersion | None", other: "ModelVersion | None") -> bool:
    return one is other is None or (one is not None and other is not None and _is(one, other))
