"""What a lineage lacks, and what brings it; and notes that help to read it."""

from collections.abc import Iterator
from dataclasses import dataclass

from rhobeta.lineage.lineage import Lineage


@dataclass(frozen=True)
class MissingLink:
    """Something that is not known or not there."""

    link: str
    remedy: str


def missing_links(lineage: Lineage) -> list[MissingLink]:
    """What the lineage lacks, in the order in which it is printed."""
    parts = (_model, _runs, _code, _holders, _data_and_studies)
    return [MissingLink(*found) for part in parts for found in part(lineage)]


def notes(lineage: Lineage) -> list[str]:
    """What a reader of the lineage must know, though nothing is missing."""
    found = []
    claims = [run for run in lineage.runs if run.model_sha256 == lineage.sha256 is not None]
    if len(claims) > 1:
        found.append(
            f"{len(claims)} runs claim this model, newest first: the training was repeated, or the"
            " run was restored beside its original"
        )
    others = {run.model_sha256 for run in lineage.runs} - {lineage.sha256, None}
    if others:
        found.append(
            f"{len(others)} of these runs made another model: the code or the version of torch"
            " differs"
        )
    if any(run.restored for run in claims):
        found.append("a restored run was made from the model's file; it does not know its code")
    if lineage.code is not None and lineage.code.dirty:
        found.append("the uncommitted changes are the artifact code/uncommitted.diff of the run")
    return found


def _model(lineage: Lineage) -> Iterator[tuple[str, str]]:
    commit, kind = lineage.reference.commit, lineage.reference.kind
    if commit is not None and lineage.project.repository.lock(commit).model is None:
        runs = "; the runs were started from its code" if lineage.runs else ""
        yield (
            f"the dvc.lock of this commit names no model{runs}",
            "`dvc repro`, and commit dvc.lock",
        )
    elif lineage.sha256 is None and lineage.md5 is not None:
        yield (
            "the model itself: neither DVC's cache nor a run knows the SHA-256 of MD5"
            f" {lineage.md5}",
            "`dvc pull` brings it from a remote",
        )
    elif lineage.sha256 is None and kind in ("trial", "study"):
        yield (
            "a model: trials keep none, and none was trained with these parameters",
            "`rhobeta tune apply` and `dvc repro` train the chosen one",
        )
    elif lineage.sha256 is None:
        yield "a model: this training did not finish", "`dvc repro` trains it again"
    elif not lineage.places:
        yield (
            "the model's file: it is neither in the workspace nor in DVC's cache",
            "`dvc pull`, or the run's artifact `model`",
        )


def _runs(lineage: Lineage) -> Iterator[tuple[str, str]]:
    place = lineage.project.place
    if lineage.project.runs.store is None:
        yield (
            f"an MLflow store: there is none at {place}",
            "`rhobeta sync` makes one, with the run of the model in the workspace",
        )
    elif lineage.sha256 is not None and not lineage.runs:
        yield "an MLflow run of this model", _sync(lineage)
    elif lineage.sha256 is not None and not any(run.is_evaluated for run in lineage.runs):
        yield "its evaluation in the MLflow run", _sync(lineage)


def _sync(lineage: Lineage) -> str:
    if lineage.in_workspace:
        return "`rhobeta sync`"
    if lineage.experiments:
        return f"`dvc exp apply {lineage.experiments[0].name}` and `rhobeta sync`"
    if lineage.commits:
        return f"`git checkout {lineage.commits[0].id[:12]}`, `dvc checkout` and `rhobeta sync`"
    return "copy it to models/autoencoder.safetensors and run `rhobeta sync`"


def _code(lineage: Lineage) -> Iterator[tuple[str, str]]:
    repository = lineage.project.repository
    commit = None if lineage.code is None else lineage.code.commit
    if commit is None and (lineage.runs or lineage.sha256 is not None):
        yield (
            "the code that trained it: no run names its commit",
            "the store in which it was trained has that run: set MLFLOW_TRACKING_URI to it",
        )
    elif commit is not None and repository.exists and repository.commit(commit) is None:
        yield f"the commit {commit[:12]}: this clone does not have it", "`git fetch --all`"


def _holders(lineage: Lineage) -> Iterator[tuple[str, str]]:
    repository = lineage.project.repository
    if not repository.exists:
        yield "a git repository with a commit", "`git init`, or clone the project"
    elif lineage.sha256 is not None and lineage.md5 is None:
        yield (
            "the MD5 by which DVC knows the model: its run was recorded without it",
            "`rhobeta sync` with this model in the workspace adds it",
        )
    elif lineage.sha256 is not None and not (lineage.commits or lineage.experiments):
        yield (
            "a commit or DVC experiment that holds it: no dvc.lock in git names it",
            "commit dvc.lock"
            if repository.lock().model == lineage.md5
            else "train it with `dvc repro` or `dvc exp run`, and commit dvc.lock",
        )


def _data_and_studies(lineage: Lineage) -> Iterator[tuple[str, str]]:
    if lineage.data is not None and not lineage.data.raw_files:
        yield (
            "the files that the data came from: the manifest of these splits is neither in the"
            " workspace nor in DVC's cache",
            "`dvc checkout data/processed` or `dvc pull`",
        )
    known = {study.id for study in lineage.studies}
    for trial in lineage.trials:
        if trial.parent not in known:
            yield (
                f"the run of the study {trial.study}",
                "`mlflow runs restore` brings a deleted one back",
            )
