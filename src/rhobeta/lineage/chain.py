"""The chain that belongs to one end: data, parameters, code, commits, runs, trials, metrics."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from rhobeta.data.datasets import DATA_SETS
from rhobeta.lineage.lineage import Data, RawFile, Story
from rhobeta.lineage.lock import METRICS, MODEL
from rhobeta.lineage.records import Record, Records
from rhobeta.lineage.repository import Repository, manifest_from
from rhobeta.lineage.resolve import End, ModelFile, read_model_file
from rhobeta.paths import Paths
from rhobeta.tracking.evaluation_log import flat_metrics
from rhobeta.utils.files import md5_of_bytes, sha256_of_bytes

_CONTEXTS = {"training": "train", "validation": "validation", "evaluation": "test"}


class Chain:
    """Follows the links from one end to all others."""

    def __init__(self, paths: Paths, records: Records, repository: Repository, store: str) -> None:
        """`store` is how the store is called, without a password."""
        self._paths = paths
        self._records = records
        self._repository = repository
        self._store = store

    def story_of(self, end: End) -> Story:
        """Everything that hangs together with `end`."""
        story = Story(end, self._store, self._records.has_store)
        self._model(story)
        self._runs(story)
        self._file(story)
        self._parameters(story)
        self._alike(story)
        self._holders(story)
        self._data(story)
        self._metrics(story)
        return story

    def _model(self, story: Story) -> None:
        end = story.end
        story.file, story.sha256 = end.file, end.sha256
        if end.file is not None:
            story.md5 = end.file.md5
        elif end.commit is not None:
            story.md5 = self._repository.lock(end.commit).model
            # A commit whose lock has no model: what was trained from its code is meant.
            records = (
                self._records.of_commit(end.commit)
                if story.md5 is None
                else self._records.of_md5(story.md5)
            )
            self._take_model_of(story, records)
        else:
            self._take_model_of(story, end.records)
        if story.sha256 is None and story.md5 is not None:
            self._take_file(story, self._repository.cached(story.md5))

    def _take_model_of(self, story: Story, records: Iterable[Record]) -> None:
        known = [record for record in records if record.model_sha256 is not None]
        if known and story.sha256 is None:
            story.sha256 = known[0].model_sha256
        if known and story.md5 is None:
            story.md5 = next((r.model_md5 for r in known if r.model_md5), None)

    def _runs(self, story: Story) -> None:
        end = story.end
        found = [] if story.sha256 is None else self._records.of_model(story.sha256)
        if story.md5 is not None:
            found += self._records.of_md5(story.md5)
        if not found and end.commit is not None and story.md5 is None:
            found = self._records.of_commit(end.commit)
        if not found and end.experiment is not None:
            found = self._records.of_dvc_experiment(end.experiment.name)
        found += end.records
        unique = list({record.id: record for record in found}.values())
        story.runs = [record for record in unique if record.is_of_a_training]
        story.trials = [record for record in unique if record.stage == "trial"]
        story.studies = [record for record in unique if record.stage == "tune"]
        self._take_model_of(story, story.runs)

    def _file(self, story: Story) -> None:
        """Find the files that hold the model, and the digest that DVC knows it by."""
        if story.sha256 is None and story.md5 is None:
            return
        if story.end.file is not None:
            story.places.append(str(story.end.file.path))
        here = self._workspace_model
        if here is not None and here.sha256 == story.sha256:
            story.md5, story.file, story.in_workspace = here.md5, story.file or here, True
            given = None if story.end.file is None else story.end.file.path.resolve()
            if given != here.path.resolve():
                story.places.append(str(here.path))
        if story.md5 is None:
            story.md5 = self._md5_by_the_locks(story)
        if story.md5 is not None and (cached := self._repository.cached(story.md5)) is not None:
            self._take_file(story, cached)
            story.places.append(f"{cached}, DVC's cache")

    def _md5_by_the_locks(self, story: Story) -> str | None:
        # A run that was recorded without it: the locks that it is likely in are tried.
        names = {run.dvc_experiment for run in story.runs}
        held = [e.commit for e in self._repository.experiments if e.name in names]
        for commit in (None, *held):
            md5 = self._repository.lock(commit).model
            cached = None if md5 is None else self._repository.cached(md5)
            if cached is not None and sha256_of_bytes(cached.read_bytes()) == story.sha256:
                return md5
        return None

    def _take_file(self, story: Story, path: Path | None) -> None:
        if path is None:
            return
        content = path.read_bytes()
        # What lies in a cache may have been damaged there.
        if md5_of_bytes(content) == story.md5:
            story.sha256 = sha256_of_bytes(content)
            story.file = story.file or read_model_file(path)

    @cached_property
    def _workspace_model(self) -> ModelFile | None:
        path = self._paths.model
        return read_model_file(path) if path.is_file() else None

    def _parameters(self, story: Story) -> None:
        if story.file is not None:
            found = story.file.description["parameters"]
        elif holder := next(iter([*story.runs, *story.trials]), None):
            found = holder.hparams
        elif story.end.trial is not None:
            found = story.end.trial.values
        elif story.studies:
            found = story.studies[0].parameters
        else:
            found = {}
        story.parameters = {name: str(value) for name, value in found.items()}

    def _alike(self, story: Story) -> None:
        """Trials with the model's parameters and data; or trainings with the trial's."""
        data = self._data_digest(story)
        if data is not None and not story.studies and story.parameters:
            for record in self._records.alike(story.parameters, data):
                known = story.trials if record.stage == "trial" else story.runs
                asked_for_a_trial = story.sha256 is None and story.end.kind == "trial"
                if record.stage == "trial" or (asked_for_a_trial and record.is_of_a_training):
                    known += [] if record in known else [record]
        if story.sha256 is None and story.runs and story.end.kind == "trial":
            self._take_model_of(story, story.runs)
            self._file(story)
        for parent in dict.fromkeys(trial.parent for trial in story.trials):
            above = None if parent is None else self._records.get(parent)
            story.studies += [] if above is None else [above]

    def _holders(self, story: Story) -> None:
        if story.md5 is None:
            return
        commits = self._repository.commits_with(story.md5)
        end = story.end.commit
        if end is not None and end not in commits:
            commits.insert(0, end)
        known = {experiment.commit: experiment for experiment in self._repository.experiments}
        story.experiments = [known[commit] for commit in commits if commit in known]
        story.commits = [self._repository.described(c) for c in commits if c not in known]

    def _data_digest(self, story: Story) -> str | None:
        if story.file is not None:
            return str(story.file.description["data_sha256"])
        records = [*story.runs, *story.trials, *story.studies]
        return next((record.data_sha256 for record in records if record.data_sha256), None)

    def _data(self, story: Story) -> None:
        sha256 = self._data_digest(story)
        if sha256 is None:
            return
        splits: dict[str, str] = {}
        for record in [*story.studies, *story.trials, *story.runs]:
            splits |= {_CONTEXTS.get(c, c): digest for c, digest in record.splits.items()}
        manifest = self._manifest(story, sha256)
        name = story.parameters.get("data.name", "")
        if manifest is None:
            story.data = Data(name, sha256, splits, {}, [])
            return
        facts = manifest["splits"]
        story.data = Data(
            name,
            sha256,
            {split: str(facts[split]["sha256"]) for split in facts},
            {split: int(facts[split]["images"]) for split in facts},
            _raw_files(name, manifest.get("raw_files", {})),
        )

    def _manifest(self, story: Story, sha256: str) -> dict[str, Any] | None:
        """The description of the splits with this digest: the workspace's, or from the cache."""
        path = self._paths.splits / "manifest.json"
        here = manifest_from(path.read_bytes()) if path.is_file() else None
        if here is not None and here.get("sha256") == sha256:
            return here
        held = [story.end.commit, *(e.commit for e in story.experiments)]
        held += [commit.id for commit in story.commits]
        for commit in dict.fromkeys(commit for commit in held if commit is not None):
            found = self._repository.manifest_in_cache(self._repository.lock(commit))
            if found is not None and found.get("sha256") == sha256:
                return found
        return None

    def _metrics(self, story: Story) -> None:
        if self._take_metrics_of_the_end(story):
            return
        for record in [*story.runs, *story.trials, *story.studies]:
            measured = {k: v for k, v in record.metrics.items() if "/" in k}
            if measured and (record.stage == "trial" or _is_evaluated(measured)):
                story.metrics, story.metrics_from = measured, f"run {record.id}"
                return
        commits = [e.commit for e in story.experiments] + [c.id for c in story.commits]
        for commit in commits:
            content = self._repository.file(commit, METRICS)
            if content is not None:
                _take_metrics(story, commit, content)
                return
        best = next((run.metrics for run in story.runs if run.metrics), {})
        story.metrics = dict(best)

    def _take_metrics_of_the_end(self, story: Story) -> bool:
        """Where a commit was asked for, its own: the run may have been evaluated again since."""
        commit = story.end.commit
        content = None if commit is None else self._repository.file(commit, METRICS)
        if commit is None or content is None or story.md5 is None:
            return False
        measured = self._repository.lock(commit).read("evaluate", MODEL)
        digest = sha256_of_bytes(content)
        if measured != story.md5 or any(run.metrics_sha256 == digest for run in story.runs):
            return False
        _take_metrics(story, commit, content)
        return True


def _take_metrics(story: Story, commit: str, content: bytes) -> None:
    story.metrics = _metrics_in(content)
    story.metrics_from = f"{METRICS} of commit {commit[:12]}"


def _is_evaluated(metrics: Mapping[str, float]) -> bool:
    return any(name.startswith("test/") for name in metrics)


def _metrics_in(content: bytes) -> dict[str, float]:
    import json

    try:
        return flat_metrics(json.loads(content))
    except (ValueError, TypeError, AttributeError):
        return {}


def _raw_files(name: str, digests: Mapping[str, str]) -> list[RawFile]:
    known = {} if name not in DATA_SETS else {f.name: f.sha256 for f in DATA_SETS[name].files}
    return [
        RawFile(file, digest, None if known.get(file) is None else known[file] == digest)
        for file, digest in sorted(digests.items())
    ]
