"""The lineage of a model: data, parameters, code, commits, experiments, runs, trials, metrics."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rhobeta.config.renamed import current_sections
from rhobeta.data.datasets import DATA_SETS
from rhobeta.data.samples import kind_of
from rhobeta.lineage.project import Project
from rhobeta.lineage.repository import (
    DETAILS,
    MODEL,
    OLD_METRICS,
    Commit,
    Experiment,
    manifest_from,
)
from rhobeta.lineage.resolve import (
    ModelFile,
    Reference,
    read_model_file,
    require_one,
    trainings,
    trainings_like,
)
from rhobeta.lineage.runs import RunInfo
from rhobeta.tracking.evaluation_log import flat_metrics
from rhobeta.utils.files import md5_of_bytes, sha256_of_bytes

_SPLITS = {"training": "train", "validation": "validation", "evaluation": "test"}


@dataclass(frozen=True)
class RawFile:
    """A file that the splits were drawn from."""

    name: str
    sha256: str
    is_published: bool | None
    """Whether it is the published file; None where no digest of that is known."""


@dataclass(frozen=True)
class Data:
    """The data that a model was trained on."""

    name: str
    sha256: str
    splits: dict[str, str]
    """SHA-256 of each split that is known."""
    counts: dict[str, int] = field(default_factory=dict)
    kind: str = "images"
    """What its samples are: images, colour images or vectors."""
    raw_files: list[RawFile] = field(default_factory=list)


class Lineage:
    """Everything that is known about what a word names. What is unknown is None or empty."""

    def __init__(self, reference: Reference, project: Project) -> None:
        """Raises `RhobetaError` where the reference stands for several models."""
        self.reference = require_one(reference)
        self.project = project
        self.sha256 = reference.sha256
        self.md5: str | None = None
        """The digest by which DVC knows the model."""
        self.file: ModelFile | None = None
        self.places: list[str] = []
        """The files that hold the model."""
        self.in_workspace = False
        self.runs: list[RunInfo] = []
        """Trainings, newest first, that made the model or were to make it."""
        self.trials: list[RunInfo] = []
        """Trials with the same parameters and data."""
        self.studies: list[RunInfo] = []
        self._find_runs()
        self._find_files()
        self.parameters = self._parameters()
        self._find_trials()
        self.commits, self.experiments = self._holders()
        self.data = self._data()
        self.metrics, self.metrics_from = self._metrics()

    @property
    def code(self) -> RunInfo | None:
        """The run that knows the code: of the training, else of the trial."""
        return next((run for run in [*self.runs, *self.trials] if run.commit), None)

    def _find_runs(self) -> None:
        reference, runs, repository = self.reference, self.project.runs, self.project.repository
        if reference.file is not None:
            self.md5 = reference.file.md5
        elif reference.commit is not None:
            self.md5 = repository.lock(reference.commit).model
        found = trainings(reference, self.project)
        made = [run.model_sha256 for run in found if run.model_sha256]
        if reference.commit is not None and self.md5 is None and made:
            # Of the models trained from a commit, the newest.
            found = [run for run in found if run.model_sha256 == made[0]]
        if reference.kind == "trial":
            found += trainings_like(reference.runs[0], self.project)
        for run in found:
            self.sha256 = self.sha256 or run.model_sha256
            if run.model_sha256 == self.sha256:
                self.md5 = self.md5 or run.model_md5
        known = [] if self.sha256 is None else runs.of_model(self.sha256)
        known += [] if self.md5 is None else runs.of_md5(self.md5)
        unique = list({run.id: run for run in [*known, *found]}.values())
        self.runs = [run for run in unique if run.is_training]
        self.trials = [run for run in unique if run.stage == "trial"]
        self.studies = [run for run in unique if run.stage == "tune"]
        self.md5 = self.md5 or next((run.model_md5 for run in known if run.model_md5), None)

    def _find_files(self) -> None:
        given, path = self.reference.file, self.project.paths.model
        self.file = given
        if given is not None:
            self.places.append(str(given.path))
        here = read_model_file(path) if path.is_file() else None
        if here is not None and (here.sha256 == self.sha256 or here.md5 == self.md5):
            self.sha256, self.md5, self.in_workspace = here.sha256, here.md5, True
            self.file = given or here
            if given is None or given.path.resolve() != path.resolve():
                self.places.append(str(path))
        cached = self.project.repository.cached(self.md5)
        # A damaged file in the cache is no evidence.
        if cached is not None and md5_of_bytes(content := cached.read_bytes()) == self.md5:
            self.sha256 = sha256_of_bytes(content)
            self.file = self.file or read_model_file(cached)
            self.places.append(f"{cached}, DVC's cache")

    def _parameters(self) -> dict[str, str]:
        found: Mapping[str, Any] = {}
        if self.file is not None:
            found = self.file.description["parameters"]
        elif self.runs or self.trials:
            found = [*self.runs, *self.trials][0].hparams
        elif self.studies:
            found = self.studies[0].parameters
        return {name: str(value) for name, value in found.items()}

    def _find_trials(self) -> None:
        """Add trials with the model's parameters and data, and their studies."""
        data, runs = self._data_digest(), self.project.runs
        if data is not None and self.parameters and not self.studies:
            known = {trial.id for trial in self.trials}
            alike = runs.alike(self.parameters, data)
            self.trials += [r for r in alike if r.stage == "trial" and r.id not in known]
        for parent in dict.fromkeys(trial.parent for trial in self.trials):
            study = None if parent is None else runs.get(parent)
            self.studies += [] if study is None else [study]

    def _holders(self) -> tuple[list[Commit], list[Experiment]]:
        """The commits and the DVC experiments whose `dvc.lock` names the model."""
        repository, asked = self.project.repository, self.reference.commit
        if self.md5 is None:
            return [], []
        held = [asked] if asked and repository.lock(asked).model == self.md5 else []
        commits = dict.fromkeys([*held, *repository.commits_with(self.md5)])
        known = {experiment.commit: experiment for experiment in repository.experiments}
        return (
            [repository.described(commit) for commit in commits if commit not in known],
            [known[commit] for commit in commits if commit in known],
        )

    def _data_digest(self) -> str | None:
        if self.file is not None:
            return str(self.file.description["data_sha256"])
        runs = [*self.runs, *self.trials, *self.studies]
        return next((run.data_sha256 for run in runs if run.data_sha256), None)

    def _data(self) -> Data | None:
        sha256, name = self._data_digest(), self.parameters.get("data.name", "")
        if sha256 is None:
            return None
        manifest = self._manifest(sha256)
        if manifest is None:
            runs = [*self.studies, *self.trials, *self.runs]
            known = {_SPLITS.get(c, c): digest for run in runs for c, digest in run.splits.items()}
            return Data(name, sha256, known)
        facts = manifest["splits"]
        return Data(
            name,
            sha256,
            {split: str(facts[split]["sha256"]) for split in facts},
            {split: int(facts[split]["images"]) for split in facts},
            kind_of(tuple(manifest.get("sample_shape", (1, 1)))),
            _raw_files(name, manifest.get("raw_files", {})),
        )

    def _manifest(self, sha256: str) -> dict[str, Any] | None:
        """The manifest of these splits, from the workspace or from DVC's cache."""
        path = self.project.paths.splits / "manifest.json"
        found = [manifest_from(path.read_bytes())] if path.is_file() else []
        held = [e.commit for e in self.experiments] + [commit.id for commit in self.commits]
        cached = (self.project.repository.manifest(commit) for commit in held)
        every: Iterable[dict[str, Any] | None] = (m for part in (found, cached) for m in part)
        return next((m for m in every if m is not None and m.get("sha256") == sha256), None)

    def _metrics(self) -> tuple[dict[str, float], str]:
        """The metrics of the model and where they come from.

        A commit that was asked about has its own: its model may have been evaluated again since.
        """
        asked, repository = self.reference.commit, self.project.repository
        if asked is not None and self.md5 is not None:
            path, content = self._details(asked)
            logged = sha256_of_bytes(content) in {run.metrics_sha256 for run in self.runs}
            measured = repository.lock(asked).read("evaluate", MODEL) == self.md5
            if content and measured and not logged:
                return _metrics_in(content), f"{path} of commit {asked[:12]}"
        for run in [*self.runs, *self.trials, *self.studies]:
            named = {k: v for k, v in run.metrics.items() if "/" in k}
            if named and (run.stage == "trial" or run.is_evaluated):
                return named, f"run {run.id}"
        for commit in [e.commit for e in self.experiments] + [c.id for c in self.commits]:
            path, content = self._details(commit)
            if content and repository.lock(commit).read("evaluate", MODEL) == self.md5:
                return _metrics_in(content), f"{path} of commit {commit[:12]}"
        run_metrics = next((run.metrics for run in self.runs if run.metrics), {})
        return dict(run_metrics), ""

    def _details(self, commit: str) -> tuple[str, bytes]:
        """The file with all metrics in a commit, and its content; empty where there is none."""
        for path in (DETAILS, OLD_METRICS):
            if content := self.project.repository.file(commit, path):
                return path, content
        return DETAILS, b""


def _metrics_in(content: bytes) -> dict[str, float]:
    try:
        return flat_metrics(current_sections(json.loads(content)))
    except (ValueError, TypeError, AttributeError):
        return {}


def _raw_files(name: str, digests: Mapping[str, str]) -> list[RawFile]:
    known = {} if name not in DATA_SETS else {f.name: f.sha256 for f in DATA_SETS[name].files}
    return [
        RawFile(file, digest, None if known.get(file) is None else known[file] == digest)
        for file, digest in sorted(digests.items())
    ]
