"""Which links of a chain are missing, and what brings each."""

from collections.abc import Iterator
from dataclasses import dataclass

from rhobeta.lineage.lineage import Story
from rhobeta.lineage.repository import Repository


@dataclass(frozen=True)
class Missing:
    """A link that is not there."""

    link: str
    remedy: str


def missing_links(story: Story, repository: Repository) -> list[Missing]:
    """What the chain lacks, in the order in which it is told."""
    found = [
        *_model(story, repository),
        *_runs(story),
        *_code(story, repository),
        *_holders(story, repository),
    ]
    return [*found, *_rest(story)]


def notes(story: Story) -> list[str]:
    """What is no gap, but must be known to read the chain rightly."""
    found = []
    claims = [run for run in story.runs if run.model_sha256 == story.sha256 is not None]
    if len(claims) > 1:
        found.append(
            f"{len(claims)} runs claim this model, newest first: the same training ran more than"
            " once, or was restored beside its run"
        )
    others = {run.model_sha256 for run in story.runs} - {story.sha256, None}
    if others:
        found.append(
            f"of these runs {len(others)} made another model: code, or the version of torch, differ"
        )
    if any(run.is_restored for run in claims):
        found.append("a restored run was made from the model's file; it claims no code")
    if story.code is not None and story.code.code is not None and story.code.code[2]:
        found.append(
            "what differed from the commit is the artifact code/uncommitted.diff of its run,"
            " where git knows the files"
        )
    return found


def _model(story: Story, repository: Repository) -> Iterator[Missing]:
    if story.end.commit is not None and repository.lock(story.end.commit).model is None:
        yield Missing(
            "the dvc.lock of this commit names no model"
            + ("; the runs are those that were started from its code" if story.runs else ""),
            "`dvc repro`, and commit dvc.lock",
        )
    elif story.sha256 is None and story.md5 is not None:
        yield Missing(
            f"the model itself: neither DVC's cache nor a run tells the SHA-256 of MD5 {story.md5}",
            "`dvc pull` brings it from a remote",
        )
    elif story.sha256 is None and story.end.kind in ("trial", "study"):
        yield Missing(
            "a model: trials keep none, and none was trained from these parameters",
            "`rhobeta tune apply` and `dvc repro` train the chosen one",
        )
    elif story.sha256 is None:
        yield Missing(
            "a model: this training did not come to its end", "`dvc repro` trains it again"
        )
    elif not story.places:
        yield Missing(
            "the model's file: it lies neither in the workspace nor in DVC's cache",
            "`dvc pull`, or the run's artifact `model`",
        )


def _runs(story: Story) -> Iterator[Missing]:
    if not story.has_store:
        yield Missing(
            f"an MLflow store: there is none at {story.store}",
            "`rhobeta sync` makes one, with the run of the model in the workspace",
        )
    elif story.sha256 is not None and not story.runs:
        yield Missing("an MLflow run of this model", _bringing_it_here(story))
    elif story.sha256 is not None and not any(
        name.startswith("test/") for run in story.runs for name in run.metrics
    ):
        yield Missing("its evaluation in the MLflow run", _bringing_it_here(story))
    elif story.end.kind == "trial" and not story.trials:
        yield Missing(
            f"an MLflow run of this trial in {story.store}",
            "set MLFLOW_TRACKING_URI to the store of the machine that ran it",
        )


def _bringing_it_here(story: Story) -> str:
    if story.in_workspace:
        return "`rhobeta sync`"
    if story.experiments:
        return f"`dvc exp apply {story.experiments[0].name}` and `rhobeta sync`"
    if story.commits:
        return f"`git checkout {story.commits[0].id[:12]}`, `dvc checkout` and `rhobeta sync`"
    return "bring it to models/autoencoder.safetensors and run `rhobeta sync`"


def _code(story: Story, repository: Repository) -> Iterator[Missing]:
    code = story.code.code if story.code is not None else None
    if code is None and (story.runs or story.sha256 is not None):
        yield Missing(
            "the code that trained it: no run says which commit it was",
            "the store in which it was trained has that run: set MLFLOW_TRACKING_URI to it",
        )
    elif code is not None and repository.is_there and repository.commit(code[0]) is None:
        yield Missing(
            f"the commit {code[0][:12]}: this clone does not have it", "`git fetch --all`"
        )


def _holders(story: Story, repository: Repository) -> Iterator[Missing]:
    if not repository.is_there:
        yield Missing("a git repository with a commit", "`git init`, or clone the project")
        return
    if story.sha256 is None:
        return
    if story.md5 is None:
        yield Missing(
            "the MD5 by which DVC knows the model: its run was recorded without it",
            "`rhobeta sync` with this model in the workspace adds it",
        )
    elif not story.commits and not story.experiments:
        yield Missing(
            "a commit or DVC experiment that holds it: no dvc.lock in git names it",
            "commit dvc.lock"
            if repository.lock().model == story.md5
            else "train it with `dvc repro` or `dvc exp run`, and commit dvc.lock",
        )


def _rest(story: Story) -> Iterator[Missing]:
    if story.data is not None and not story.data.raw_files:
        yield Missing(
            "the files that the data came from: the manifest of these splits is neither in the"
            " workspace nor in DVC's cache",
            "`dvc checkout data/processed` or `dvc pull`",
        )
    for trial in story.trials:
        if trial.parent not in {study.id for study in story.studies}:
            yield Missing(
                f"the run of the study {trial.study}",
                "`mlflow runs restore` brings a deleted one back",
            )
