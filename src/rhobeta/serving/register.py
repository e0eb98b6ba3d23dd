"""`rhobeta register`: add a model to the registry; it becomes @champion if it passes the gate."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rhobeta.config.registration import RegistryParams
from rhobeta.errors import RhobetaError, did_you_mean
from rhobeta.lineage.models import Package, read_package, run_with_model
from rhobeta.lineage.project import Project
from rhobeta.lineage.resolve import WORKSPACE, require_one, resolve
from rhobeta.lineage.runs import RunInfo
from rhobeta.paths import Paths
from rhobeta.serving.gate import Check, Verdict, against_champion, against_thresholds
from rhobeta.serving.model_registry import CHAMPION, Registry
from rhobeta.tracking.tags import DATA_TAG, MODEL_TAG

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

GATE_TAG = "rhobeta.gate"
REASONS_TAG = "rhobeta.gate_reasons"
_LONGEST_REASONS = 4000


def register(project: Project, *, word: str | None, new_data: bool) -> None:
    """Register the model that `word` names, else the workspace's; champion if the gate passes.

    The same model is registered once. With `new_data`, a model of another data set than the
    champion's passes by the thresholds alone. Raises `RhobetaError`, so that the command ends with
    status 1, where the model does not pass: it is then registered without the alias, with the
    reasons as a tag. Where the model, its run or its metrics are missing, nothing is registered.
    """
    rules = project.params.registry
    run = _run_to_register(word or WORKSPACE, project, rules)
    package = read_package(project.runs, run)
    _require_measured(run, rules)
    registry = Registry(project.runs, rules.name)
    with _one_at_a_time(project.paths):
        registry.champion()
        version = _version_of(registry, run, package)
        champion, verdict, notes = _judged(registry, rules, run, new_data)
        moved = False
        while verdict.passed and _number(champion) != _number(version):
            # Another machine may have registered meanwhile: judge against the present champion.
            if _number(registry.champion()) == _number(champion):
                registry.set_champion(version)
                moved = True
                break
            champion, verdict, notes = _judged(registry, rules, run, new_data)
        if _number(champion) != _number(version):
            registry.tag(version, _outcome(verdict))
    for check in verdict.checks:
        print(f"  {'kept  ' if check.kept else 'BROKEN'}  {check.text}")
    for note in notes:
        print(f"  note    {note}")
    _report(rules.name, version, champion, verdict, moved=moved)


def _run_to_register(word: str, project: Project, rules: RegistryParams) -> RunInfo:
    """The run that is named; for a model, commit or experiment the run of the model."""
    reference = require_one(resolve(word, project))
    run = run_with_model(reference, project)
    if reference.kind == "run" and len(reference.runs) == 1:
        return run
    asked = _asked(rules)
    claims = {
        claim.id: [claim.metrics.get(name) for name in asked]
        for claim in project.runs.of_model(run.model_sha256 or "")
        if claim.status == "FINISHED"
    }
    if len({tuple(measured) for measured in claims.values() if None not in measured}) > 1:
        listed = "".join(
            f"\n  {run_id}: {', '.join(f'{n} {v}' for n, v in zip(asked, measured, strict=True))}"
            for run_id, measured in claims.items()
        )
        raise RhobetaError(
            f"{len(claims)} runs claim this model, and were measured differently:{listed}\n"
            "Name one of them: `rhobeta register --run ID`. Nothing was registered."
        )
    return run


def _asked(rules: RegistryParams) -> list[str]:
    """The metrics that the gate needs, as MLflow names them."""
    bounds = (*rules.bounds, *rules.margins)
    return list(dict.fromkeys(bound.metric for bound in bounds))


def _require_measured(run: RunInfo, rules: RegistryParams) -> None:
    missing = [name for name in _asked(rules) if name not in run.metrics]
    if missing and not run.is_evaluated:
        raise RhobetaError(
            f"The model of the run {run.id} was not measured on the test split, so that"
            f" {', '.join(missing)} cannot be compared with params.yaml's section registry.\n"
            "`rhobeta evaluate` measures the workspace's model. Nothing was registered."
        )
    if missing:
        raise RhobetaError(
            f"The run {run.id} has no metric {missing[0]}, which params.yaml's section registry"
            f" asks for{did_you_mean(missing[0], run.metrics)}\n"
            "Name metrics as MLflow shows them in the run; data without labels has no probe."
            " Nothing was registered."
        )


def _version_of(registry: Registry, run: RunInfo, package: Package) -> "ModelVersion":
    """The version that is this model, added if there is none."""
    sha256 = run.model_sha256 or ""
    before = registry.versions_of(sha256)
    if before:
        print(f"this model is registered already: {_in_words(registry.name, before[0])}")
        return before[0]
    added = registry.add(
        model_id=package.model_id,
        run_id=run.id,
        tags={MODEL_TAG: sha256, DATA_TAG: run.data_sha256 or ""},
        description=run.description,
    )
    first = registry.versions_of(sha256)[0]
    if first.version != added.version:
        # Another machine registered the same model at the same moment.
        registry.remove(added)
    print(f"registered {_in_words(registry.name, first)}")
    return first


def _judged(
    registry: Registry, rules: RegistryParams, run: RunInfo, new_data: bool
) -> tuple["ModelVersion | None", Verdict, list[str]]:
    """The present champion, the gate's verdict on the run's model beside it, and notes."""
    champion = registry.champion()
    checks = against_thresholds(rules.bounds, run.metrics).checks
    if champion is None or champion.tags.get(MODEL_TAG) == run.model_sha256:
        return champion, Verdict(checks), []
    data, mine = champion.tags.get(DATA_TAG), run.data_sha256 or ""
    if data != mine and new_data:
        return champion, Verdict(checks), ["another data set than the champion's: not compared"]
    if data != mine:
        text = (
            f"the champion, version {champion.version}, was measured on data"
            f" {(data or 'unknown')[:16]}..., this model on {mine[:16]}...: their numbers cannot be"
            " compared; --new-data lets the thresholds alone decide"
        )
        return champion, Verdict((*checks, Check(False, text))), []
    theirs = registry.run_of(champion)
    compared = against_champion(rules.margins, run.metrics, theirs.metrics if theirs else {})
    notes = [] if theirs is None else _different_evaluation(run, theirs)
    return champion, Verdict((*checks, *compared.checks)), notes


def _different_evaluation(mine: RunInfo, theirs: RunInfo) -> list[str]:
    names = sorted({*mine.parameters, *theirs.parameters})
    return [
        f"measured with {name} {mine.parameters.get(name)}, the champion with"
        f" {theirs.parameters.get(name)}"
        for name in names
        if name.startswith("evaluate.") and mine.parameters.get(name) != theirs.parameters.get(name)
    ]


def _outcome(verdict: Verdict) -> dict[str, str]:
    checks = verdict.checks if verdict.passed else tuple(c for c in verdict.checks if not c.kept)
    reasons = "; ".join(check.text for check in checks)
    return {
        GATE_TAG: "passed" if verdict.passed else "refused",
        REASONS_TAG: reasons[:_LONGEST_REASONS],
    }


def _report(
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
    if _number(champion) == _number(version):
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

    # Of this machine. Those of others show when the champion is read again.
    paths.store.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.store / ".registry.lock"):
        yield


def _in_words(name: str, version: "ModelVersion") -> str:
    return f"version {version.version} of {name} (run {version.run_id})"


def _number(version: "ModelVersion | None") -> str | None:
    return None if version is None else str(version.version)
