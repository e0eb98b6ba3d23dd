"""What a word on the command line names: a model, a run, a commit, an experiment, a trial, ..."""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rhobeta.config.params import flatten, read_yaml
from rhobeta.config.presets import overlaid, preset_names, read_preset
from rhobeta.config.renamed import current_parameters
from rhobeta.errors import RhobetaError, did_you_mean
from rhobeta.lineage.project import Project
from rhobeta.lineage.repository import MODEL, Experiment
from rhobeta.lineage.runs import RunInfo, is_hexadecimal
from rhobeta.model.header import MALFORMED, described_in
from rhobeta.utils.checksum import verify_checksum
from rhobeta.utils.files import md5_of_bytes, require_file, sha256_of_bytes

WORKSPACE, PRESETS = "workspace", "presets"

KINDS = (
    "a model file or its SHA-256",
    "an MLflow run's id or name",
    "a DVC experiment",
    "a git commit",
    "a trial (STUDY/NUMBER, or `trial N`)",
    "a study",
    "a preset, or `presets` for all of them",
    "`workspace` for the model in models/",
)
"""What a word can name. Ids, digests and commits may be shortened to six digits."""

_TRIAL = re.compile(r"(?:trial[ -]?|(?P<study>.+)/)(?P<number>\d+)", re.IGNORECASE)
_SHOWN = 20


@dataclass(frozen=True)
class ModelFile:
    """A model as a file holds it."""

    path: Path
    sha256: str
    md5: str
    description: dict[str, Any]
    """Its parameters, the data's digest, the best epoch and its loss."""


@dataclass(frozen=True)
class Reference:
    """What a word names."""

    kind: str
    """`model file`, `model`, `run`, `experiment`, `commit`, `trial`, `study` or `preset`."""
    name: str
    """The thing's full name."""
    file: ModelFile | None = None
    sha256: str | None = None
    """Of a model or a model file."""
    commit: str | None = None
    experiment: Experiment | None = None
    runs: tuple[RunInfo, ...] = ()
    """Runs that bear the name. Those of a model or a commit are found by `trainings`."""

    @property
    def identity(self) -> str:
        """The same for two references to the same thing."""
        return self.sha256 or self.commit or (self.runs[0].id if self.runs else self.name)


def resolve(word: str, project: Project) -> Reference:
    """The one thing that `word` names.

    A run's name and a preset may stand for several runs. Raises `RhobetaError` where the word is
    unknown, with the nearest known name, and where it names several things.
    """
    if word == WORKSPACE:
        return _of_file(require_file(project.paths.model, made_by="rhobeta train"), word)
    if _is_file(word):
        return _of_file(Path(word), word)
    found = {reference.identity: reference for reference in _search(word, project)}
    if len(found) > 1:
        raise RhobetaError(_ambiguous(word, [f"{r.kind} {r.name}" for r in found.values()]))
    if found:
        return next(iter(found.values()))
    names = preset_names(project.paths.presets)
    if word == PRESETS or word in names:
        return _of_presets(word, names if word == PRESETS else [word], project)
    raise RhobetaError(_unknown(word, project))


def require_one(reference: Reference) -> Reference:
    """The reference itself; raises `RhobetaError` where it stands for runs of several models."""
    runs = distinct(reference.runs)
    if len(runs) > 1:
        raise RhobetaError(_ambiguous(reference.name, [f"run {r.id} ({r.name})" for r in runs]))
    return reference


def trainings(reference: Reference, project: Project) -> list[RunInfo]:
    """The runs that a reference leads to, newest first; empty where the store has none.

    Of a model or model file, its runs; of a commit or experiment, the runs of the model that its
    `dvc.lock` names, else the trainings started from it; else the runs that bear the name.
    """
    runs, repository = project.runs, project.repository
    if reference.sha256 is not None and not reference.runs:
        return runs.of_model(reference.sha256)
    found = list(reference.runs)
    if reference.commit is not None:
        md5 = repository.lock(reference.commit).model
        found = runs.of_commit(reference.commit) if md5 is None else runs.of_md5(md5)
        if not found and (file := repository.cached(md5)) is not None:
            # Runs of early versions lack the MD5.
            found = runs.of_model(sha256_of_bytes(file.read_bytes()))
    if not found and reference.experiment is not None:
        found = runs.of_dvc_experiment(reference.experiment.name)
    return found


def trainings_like(trial: RunInfo, project: Project) -> list[RunInfo]:
    """Trainings with the parameters and the data of a trial, which itself keeps no model."""
    if trial.data_sha256 is None:
        return []
    return [r for r in project.runs.alike(trial.hparams, trial.data_sha256) if r.is_training]


def distinct(runs: Iterable[RunInfo]) -> list[RunInfo]:
    """One run a model, in order: the first that finished, or else the first."""
    kept: dict[str, RunInfo] = {}
    for run in runs:
        key = run.model_sha256 or run.id
        if key not in kept or (run.status == "FINISHED" != kept[key].status):
            kept[key] = run
    return list(kept.values())


def read_model_file(path: Path) -> ModelFile:
    """Read what a model file says of itself; torch is not needed.

    Raises `RhobetaError` where it is not a model file or is damaged.
    """
    content = path.read_bytes()
    try:
        verify_checksum(content)
        description = described_in(content)
        description["parameters"] = current_parameters(dict(description["parameters"]))
        str(description["data_sha256"]), int(description["best_epoch"])
    except (RhobetaError, *MALFORMED) as error:
        raise RhobetaError(
            f"{path} is not a model of rhobeta, or is damaged ({error}).\n"
            "Expected a file such as models/autoencoder.safetensors, written by `rhobeta train`."
        ) from None
    return ModelFile(path, sha256_of_bytes(content), md5_of_bytes(content), description)


def _of_file(path: Path, word: str) -> Reference:
    file = read_model_file(path)
    return Reference("model file", word, file=file, sha256=file.sha256)


def _of_run(run: RunInfo) -> Reference:
    kind = {"trial": "trial", "tune": "study"}.get(run.stage, "run")
    return Reference(kind, f"{run.id} ({run.name})", runs=(run,))


def _of_presets(word: str, names: list[str], project: Project) -> Reference:
    paths, found = project.paths, dict[str, RunInfo]()
    for name in names:
        overlay = read_preset(paths.presets, name)
        params = flatten(overlaid(read_yaml(paths.params), overlay, name=name))
        runs = project.runs.with_parameters({path: params[path] for path in overlay})
        found |= {run.id: run for run in runs}
    if not found:
        raise RhobetaError(
            f"No run has the parameters of {word if word != PRESETS else 'a preset'} yet.\n"
            "`rhobeta run --preset NAME` trains a preset; `rhobeta presets` lists them."
        )
    return Reference("preset", word, runs=tuple(found.values()))


def _search(word: str, project: Project) -> Iterator[Reference]:
    searches: tuple[Callable[[str, Project], Iterator[Reference]], ...] = (
        _models, _runs, _experiments, _commits, _trials, _studies,
    )  # fmt: skip
    for search in searches:
        yield from search(word, project)


def _models(word: str, project: Project) -> Iterator[Reference]:
    if is_hexadecimal(word, most=64):
        found = {run.model_sha256 for run in project.runs.of_model_starting(word)}
        yield from (Reference("model", sha256, sha256=sha256) for sha256 in found if sha256)


def _runs(word: str, project: Project) -> Iterator[Reference]:
    if is_hexadecimal(word.lower(), most=32):
        yield from map(_of_run, project.runs.starting(word.lower()))
    # Names say what differs, so that trainings with the same parameters share one.
    named = distinct(project.runs.named(word))
    if len(named) == 1:
        yield _of_run(named[0])
    elif named:
        yield Reference("run", word, runs=tuple(named))


def _experiments(word: str, project: Project) -> Iterator[Reference]:
    held = [found for found in project.repository.experiments if found.name == word]
    yield from map(_of_experiment, held)
    if not held and (runs := project.runs.of_dvc_experiment(word)):
        # Removed from git; the store still knows its runs.
        yield Reference("experiment", word, runs=tuple(distinct(runs)))


def _of_experiment(found: Experiment) -> Reference:
    name = f"{found.name} ({found.commit[:12]})"
    return Reference("experiment", name, commit=found.commit, experiment=found)


def _commits(word: str, project: Project) -> Iterator[Reference]:
    commit = project.repository.commit(word)
    if commit is not None:
        known = [found for found in project.repository.experiments if found.commit == commit]
        yield _of_experiment(known[0]) if known else Reference("commit", commit, commit=commit)
    elif is_hexadecimal(word, most=40) and (runs := project.runs.of_commit(word)):
        # A commit that this clone does not have.
        yield Reference("commit", word, runs=tuple(distinct(runs)))


def _trials(word: str, project: Project) -> Iterator[Reference]:
    match = _TRIAL.fullmatch(word)
    if match is None:
        return
    study = match["study"] or project.params.tune.study
    yield from map(_of_run, project.runs.of_trial(study, int(match["number"])))


def _studies(word: str, project: Project) -> Iterator[Reference]:
    yield from map(_of_run, project.runs.of_study(word))


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except OSError:
        # For example a word that is longer than a file's name can be.
        return False


def _ambiguous(word: str, things: list[str]) -> str:
    listed = "\n".join(f"  {thing}" for thing in things[:_SHOWN])
    return (
        f"{word!r} stands for {len(things)} things:\n{listed}\n"
        "Give one of these in full, or more digits; refs/heads/NAME is a branch."
    )


def _unknown(word: str, project: Project) -> str:
    runs, repository = project.runs.newest(), project.repository
    known = [name for run in runs for name in (run.name, run.dvc_experiment, run.study, run.id)]
    known += [f"{run.study}/{run.trial}" for run in runs if run.trial is not None]
    known += [*(experiment.name for experiment in repository.experiments), *repository.names]
    known += [WORKSPACE, PRESETS, *preset_names(project.paths.presets), MODEL]
    names = list(dict.fromkeys(filter(None, known)))
    # The beginning of a run's name says which one is meant, however much follows.
    started = next((name for name in names if word and name.startswith(word)), None)
    hint = f". Did you mean {started}?" if started else did_you_mean(word, names) or "."
    notes = []
    if project.runs.store is None:
        notes.append(f"There is no MLflow store at {project.place}, and so no run.")
    if shutil.which("git") is None:
        notes.append("git is not installed, so commits and experiments are not known.")
    if project.runs.get(word, deleted=True) is not None:
        notes.append(f"This run was deleted: `mlflow runs restore --run-id {word}` restores it.")
    if Path(word).suffix == Path(MODEL).suffix:
        notes.append("There is no such file: `dvc checkout` or `dvc pull` brings the model.")
    return "\n".join(
        [
            f"Nothing is known by the name {word!r}{hint}",
            *notes,
            f"Expected: {'; '.join(KINDS)}.",
            "`dvc exp list --all-commits` lists experiments, `make ui` shows runs and their ids.",
        ]
    )
