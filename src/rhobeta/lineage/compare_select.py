"""From what the user names to the trainings that are compared."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.config.params import flatten, read_yaml
from rhobeta.config.presets import overlaid, preset_names, read_preset
from rhobeta.errors import RhobetaError
from rhobeta.lineage.compare_subject import Subject
from rhobeta.lineage.repository import Repository
from rhobeta.paths import Paths
from rhobeta.tracking.run import latest_parameters
from rhobeta.tracking.store import Store
from rhobeta.tracking.tags import (
    COMMIT_TAG,
    DATA_TAG,
    DIRTY_TAG,
    EXPERIMENT_TAG,
    MODEL_MD5_TAG,
    MODEL_TAG,
    STAGE_TAG,
)
from rhobeta.utils.files import require_file, sha256_of_bytes, sha256_of_file

if TYPE_CHECKING:
    from mlflow.entities import Run

PRESETS, WORKSPACE = "presets", "workspace"

_NOT_TRAININGS = ("tune", "trial")
_SHORTEST_PREFIX = 6
_LONGEST_ID = 40
# Of a preset, what tells most runs apart; the rest is compared here, since a search by thirty
# parameters at once is slow.
_TELLING = ("model.hidden_sizes", "model.code_activation", "penalty.kind", "penalty.beta")


def select(words: Sequence[str], store: Store, paths: Paths) -> list[Subject]:
    """What each of `words` names, in order: one training, or several.

    A word is `presets`, `workspace`, a model file, or the id of an MLflow run, the name of a DVC
    experiment, run or preset, or a git commit; ids and commits may be cut down to six digits. One
    that stands for several runs does not repeat those that made the same model: the newest stays.
    Raises `RhobetaError` where a word is unknown or names two things, where two words name the
    same run, and where fewer than two trainings are left.
    """
    search = _Search(store, paths)
    named: dict[str, str] = {}
    subjects: list[Subject] = []
    for word in words:
        found = search.subjects(word)
        new = [subject for subject in found if _identity(subject) not in named]
        if not new:
            same = named[_identity(found[0])]
            raise RhobetaError(
                f"{word} names the same training as {same}: {_in_words(found[0])}.\n"
                "Leave one of the two out, or name another."
            )
        named |= {_identity(subject): word for subject in new}
        subjects += new
    if len(subjects) < 2:
        raise RhobetaError(
            f"There is one training to compare: {_in_words(subjects[0])}. Expected two or more.\n"
            "Name another run, experiment, commit or model file beside it."
        )
    return subjects


class _Search:
    """Finds runs by filters, over all experiments of a store."""

    def __init__(self, store: Store, paths: Paths) -> None:
        self._client, self._paths = store.client, paths
        self._repository = Repository(paths.workspace)
        self._experiments = [e.experiment_id for e in store.client.search_experiments()]

    def subjects(self, word: str) -> list[Subject]:
        """What a word names."""
        if word == WORKSPACE:
            return [self._of_file(require_file(self._paths.model, made_by="rhobeta train"))]
        if word == PRESETS:
            return self._of_presets()
        if Path(word).is_file():
            return [self._of_file(Path(word))]
        found = [
            *self._by_id(word),
            *self._by(f"tags.`{EXPERIMENT_TAG}`", word),
            *self._by("attributes.run_name", word),
        ]
        at_commit = self._by_commit(word)
        if found and at_commit:
            raise RhobetaError(
                f"{word} names both a git commit and {_in_words(_subject(found[0]))}.\n"
                "Give more of its digits, or the run's id."
            )
        found = found or at_commit or self._by_preset(word) or self._by_experiment(word)
        if not found:
            raise RhobetaError(self._unknown(word))
        return [_subject(run) for run in _one_a_model(found)]

    def _where(self, condition: str) -> "list[Run]":
        runs: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs(
                self._experiments,
                filter_string=condition,
                order_by=["attributes.start_time DESC"],
                page_token=token,
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def _by(self, key: str, word: str) -> "list[Run]":
        quote = "'" if "'" not in word else '"'
        return [] if quote in word else self._where(f"{key} = {quote}{word}{quote}")

    def _by_id(self, word: str) -> "list[Run]":
        if not _is_hexadecimal(word):
            return []
        runs = self._where(f"attributes.run_id LIKE '{word.lower()}%'")
        if len(runs) > 1:
            several = ", ".join(run.info.run_id[:12] for run in runs[:5])
            raise RhobetaError(f"{len(runs)} runs begin with {word}: {several}.\nGive more digits.")
        return runs

    def _by_commit(self, word: str) -> "list[Run]":
        commit = self._repository.commit(word)
        tag = f"tags.`{COMMIT_TAG}`"
        if commit:
            # What was trained from its code is as a rule the model of a later commit.
            return self._recorded(commit) or _trainings(self._by(tag, commit))
        if not _is_hexadecimal(word):
            return []
        # It may be one that this clone does not have.
        return _trainings(self._where(f"{tag} LIKE '{word.lower()}%'"))

    def _by_experiment(self, word: str) -> "list[Run]":
        # One that DVC had from its cache: no run bears its name, but its model may have one.
        commit = self._experiment(word)
        return self._recorded(commit) if commit else []

    def _by_model(self, sha256: str) -> "list[Run]":
        return _best_of(self._by(f"tags.`{MODEL_TAG}`", sha256))

    def _recorded(self, commit: str) -> "list[Run]":
        # The run of the model that the commit's dvc.lock names.
        md5 = self._repository.lock(commit).model
        if md5 is None:
            return []
        tagged = _best_of(self._by(f"tags.`{MODEL_MD5_TAG}`", md5))
        if tagged:
            return tagged
        file = self._repository.cached(md5)
        return [] if file is None else self._by_model(sha256_of_file(file))

    def _by_preset(self, word: str) -> "list[Run]":
        if word not in preset_names(self._paths.presets):
            return []
        overlay = read_preset(self._paths.presets, word)
        params = flatten(overlaid(read_yaml(self._paths.params), overlay, name=word))
        wanted = {path: str(params[path]) for path in overlay}
        conditions = [f"params.`{path}` = '{wanted[path]}'" for path in _TELLING if path in wanted]
        return [
            run
            for run in self._where(" and ".join(conditions))
            if run.data.tags.get(MODEL_TAG) and _has_nothing_else(run, wanted)
        ]

    def _of_presets(self) -> list[Subject]:
        found = [run for name in preset_names(self._paths.presets) for run in self._by_preset(name)]
        if not found:
            raise RhobetaError(
                "No run has the parameters of a preset yet.\n`rhobeta run --preset NAME` makes one;"
                " `rhobeta presets` lists them."
            )
        return [_subject(run) for run in _one_a_model(found)]

    def _of_file(self, path: Path) -> Subject:
        content = path.read_bytes()
        found = self._by_model(sha256_of_bytes(content))
        return _subject(found[0]) if found else _subject_of_file(content, str(path))

    def _experiment(self, word: str) -> str | None:
        found = (e.commit for e in self._repository.experiments if e.name == word)
        return next(found, None)

    def _unknown(self, word: str) -> str:
        tags = ("mlflow.runName", EXPERIMENT_TAG)
        known = {
            run.data.tags[tag] for run in self._where("") for tag in tags if tag in run.data.tags
        }
        known |= {PRESETS, WORKSPACE, *preset_names(self._paths.presets)}
        near = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        advice = (
            "Expected: the id of a run (six digits or more), the name of a run or a DVC experiment,"
            " a git commit that a model was trained at, presets, workspace, or a model file."
        )
        if self._experiment(word):
            advice = (
                "DVC has an experiment of this name, whose training has no run in this store;"
                f" `dvc exp apply {word}` and `dvc repro` give its model one."
            )
        elif self._repository.commit(word):
            advice = (
                "git has this commit, but no run in this store was trained at it, nor is the model"
                f" of its dvc.lock here; `git checkout {word}` and `dvc repro` make one."
            )
        return f"There is no training {word!r}.{hint}\n{advice}"


def _is_hexadecimal(word: str) -> bool:
    right_length = _SHORTEST_PREFIX <= len(word) <= _LONGEST_ID
    return right_length and set(word.lower()) <= set("0123456789abcdef")


def _has_nothing_else(run: "Run", wanted: Mapping[str, str]) -> bool:
    parameters = latest_parameters(run)
    return all(parameters.get(path, value) == value for path, value in wanted.items())


def _trainings(runs: "Iterable[Run]") -> "list[Run]":
    # A search may make hundreds of trials at one commit; they are compared by `rhobeta tune show`.
    return [run for run in runs if run.data.tags.get(STAGE_TAG) not in _NOT_TRAININGS]


def _best_of(runs: "list[Run]") -> "list[Run]":
    # Of the same model: the newest that came to its end, if one did.
    return ([run for run in runs if run.info.status == "FINISHED"] or runs)[:1]


def _one_a_model(runs: "Iterable[Run]") -> "list[Run]":
    kept: dict[str, Run] = {}
    for run in runs:
        kept.setdefault(run.data.tags.get(MODEL_TAG, run.info.run_id), run)
    return list({run.info.run_id: run for run in kept.values()}.values())


def _subject(run: "Run") -> Subject:
    tags = run.data.tags
    return Subject(
        name=run.info.run_name or run.info.run_id,
        parameters=latest_parameters(run),
        metrics=run.data.metrics,
        run_id=run.info.run_id,
        status=run.info.status,
        experiment=tags.get(EXPERIMENT_TAG, ""),
        commit=tags.get(COMMIT_TAG, ""),
        dirty=tags.get(DIRTY_TAG) == "true",
        data_sha256=tags.get(DATA_TAG, ""),
        test_sha256=_test_digest(run),
        model_sha256=tags.get(MODEL_TAG, ""),
    )


def _test_digest(run: "Run") -> str:
    for data_set in run.inputs.dataset_inputs if run.inputs else []:
        tags = {tag.key: tag.value for tag in data_set.tags}
        if tags.get("mlflow.data.context") == "evaluation":
            return str(tags.get("sha256", ""))
    return ""


def _subject_of_file(content: bytes, name: str) -> Subject:
    from rhobeta.model.weights import model_from_bytes

    saved = model_from_bytes(content, name=name)
    return Subject(
        name=name,
        parameters={path: str(value) for path, value in saved.description.parameters.items()},
        data_sha256=saved.description.data_sha256,
        model_sha256=saved.sha256,
        model=content,
    )


def _identity(subject: Subject) -> str:
    return subject.run_id or subject.model_sha256


def _in_words(subject: Subject) -> str:
    run = f"run {subject.run_id[:12]}" if subject.run_id else "a model without a run"
    return f"{run} ({subject.name})"
