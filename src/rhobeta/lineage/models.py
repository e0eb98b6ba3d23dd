"""The model that a word names: from its file, from DVC's cache, or from the package of its run."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from rhobeta.errors import RhobetaError
from rhobeta.lineage.project import Project
from rhobeta.lineage.resolve import Reference, require_one, resolve, trainings, trainings_like
from rhobeta.lineage.runs import RunInfo, Runs
from rhobeta.model.serialization import SavedModel, model_from_bytes, read_network
from rhobeta.tracking.package import PACKAGED_FILE
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import newest_finished
from rhobeta.tracking.upload import logged_model
from rhobeta.utils.files import md5_of_bytes, sha256_of_bytes


@dataclass(frozen=True)
class Package:
    """The packaged model of a run."""

    model_id: str
    """MLflow's id of it."""
    content: bytes
    """The model's own file."""


def find_model(word: str | None, project: Project) -> SavedModel:
    """The model that `word` names; the workspace's where it is None.

    Raises `RhobetaError` where the word is unknown or ambiguous, nothing holds the model, or what
    holds it is damaged.
    """
    if word is None:
        return read_network(project.paths.model)
    reference = require_one(resolve(word, project))
    if reference.file is not None:
        return read_network(reference.file.path)
    repository, commit = project.repository, reference.commit
    md5 = None if commit is None else repository.lock(commit).model
    run = None
    if md5 is None:
        run = run_with_model(reference, project)
        md5 = run.model_md5
    for path in (project.paths.model, repository.cached(md5)):
        if path is not None and path.is_file():
            content = path.read_bytes()
            if md5_of_bytes(content) == md5:
                return model_from_bytes(content, name=str(path))
    run = run or run_with_model(reference, project)
    package = read_package(project.runs, run)
    return model_from_bytes(package.content, name=f"the model of run {run.id}")


def run_with_model(reference: Reference, project: Project) -> RunInfo:
    """The newest run that made the model which a reference leads to; a finished one if possible.

    A trial leads to the training with its parameters and data. Raises `RhobetaError` where there
    is no such run.
    """
    found = trainings(reference, project)
    if reference.kind == "trial":
        found = trainings_like(reference.runs[0], project)
    made = newest_finished([run for run in found if run.model_sha256], lambda run: run.status)
    if made is not None:
        return made
    advice = {
        "trial": "Trials keep no model. `rhobeta tune apply` and `dvc repro` train the chosen one.",
        "study": "A study has none. `rhobeta tune apply` and `dvc repro` train its choice.",
        "run": f"The training did not finish ({found[0].status if found else 'unknown'}).",
    }
    raise RhobetaError(
        f"No run in {project.place} made a model of {reference.kind} {reference.name}.\n"
        + advice.get(reference.kind, "`rhobeta sync` gives the workspace's model its run.")
    )


def read_package(runs: Runs, run: RunInfo) -> Package:
    """The run's packaged model, checked against the digest of the model that the run made.

    Raises `RhobetaError` where the run made no model, or its package is missing or damaged.
    """
    from mlflow.exceptions import MlflowException

    store = runs.store
    package = None if store is None else logged_model(store.client, run.id, run.experiment_id)
    if store is None or package is None or run.model_sha256 is None:
        raise RhobetaError(
            f"The run {run.id} ({run.status}) has no model: its training did not finish, or it is"
            " of another kind.\nName a run that `rhobeta train` finished."
        )
    try:
        with tempfile.TemporaryDirectory() as folder:
            files = store.files_at(package.artifact_location)
            content = Path(files.download_artifacts(PACKAGED_FILE, folder)).read_bytes()
    except (MlflowException, OSError) as error:
        reason = without_password(" ".join(str(error).split()))[:300]
        raise RhobetaError(
            f"The packaged model of the run {run.id} cannot be read: {reason}\n"
            "Its files among the store's artifacts were moved or deleted: bring them back, or run"
            " `dvc repro --force train`."
        ) from None
    found = sha256_of_bytes(content)
    if found != run.model_sha256:
        raise RhobetaError(
            f"The packaged model of the run {run.id} is not the one that the run made (SHA-256"
            f" {found[:16]}..., expected {run.model_sha256[:16]}...): it is damaged or was"
            " replaced.\nBring the store's artifacts back from a backup, or train again."
        )
    return Package(package.model_id, content)
