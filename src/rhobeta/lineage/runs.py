"""MLflow runs: one view of a run, and the searches that find runs by their tags.

Every search uses the store's index, and returns the newest runs first. All but `all_trainings`
return at most 1,000.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rhobeta.config.renamed import current_metric, current_parameters
from rhobeta.errors import RhobetaError
from rhobeta.tracking.run import latest_parameters
from rhobeta.tracking.store import Store
from rhobeta.tracking.tags import (
    BASELINE_TAG,
    BRANCH_TAG,
    COMMIT_TAG,
    DATA_TAG,
    DIRTY_TAG,
    EVALUATION_TAG,
    EXPERIMENT_TAG,
    MODEL_MD5_TAG,
    MODEL_TAG,
    NOTE_TAG,
    PARENT_TAG,
    RESTORED_TAG,
    STAGE_TAG,
)
from rhobeta.tuning.study_runs import STUDY_TAG, TRIAL_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

_MOST = 1000
_LATEST = 253_402_300_799_000
"""The last millisecond that a date can hold (ms)."""
_HPARAMS = ("data.", "model.", "penalty.", "topk.", "training.")
# What distinguishes most runs, since a search by thirty parameters is slow. None was ever renamed.
_INDEXED = (
    "model.hidden_sizes", "model.code_activation", "penalty.rho", "penalty.beta", "training.seed",
)  # fmt: skip


@dataclass(frozen=True)
class RunInfo:
    """An MLflow run, or a model file that has none. Names are those of this version."""

    name: str
    """The run's name; the path of a model file without a run."""
    id: str = ""
    """Empty for a model file without a run."""
    status: str = "FINISHED"
    stage: str = ""
    """`train`, `restored`, `trial` or `tune`."""
    started: str = ""
    """ISO 8601, in UTC."""
    experiment: str = ""
    """The MLflow experiment that the run belongs to."""
    experiment_id: str = ""
    model_sha256: str | None = None
    """The model that it made."""
    model_md5: str | None = None
    """The digest by which DVC knows this model."""
    data_sha256: str | None = None
    metrics_sha256: str | None = None
    """SHA-256 of the `details.json` of the last evaluation that was logged."""
    restored: bool = False
    """Whether it was restored from a model file; its code is unknown then."""
    commit: str | None = None
    """The commit that was checked out when it began."""
    branch: str = ""
    dirty: bool = False
    """Whether files differed from the commit."""
    dvc_experiment: str | None = None
    baseline: str | None = None
    """The commit that the DVC experiment starts from."""
    study: str | None = None
    trial: int | None = None
    parent: str | None = None
    """The run of the study, for a trial."""
    chosen_trial: str | None = None
    """The trial that the last `rhobeta tune` chose, for a study."""
    description: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """By dotted path; the last value of a parameter that was logged several times."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The last value of each."""
    splits: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of the data that it used, by context: training, validation, evaluation."""

    @property
    def is_training(self) -> bool:
        """Whether it trained a model or was to train one: no trial and no study."""
        return self.stage not in ("trial", "tune")

    @property
    def is_evaluated(self) -> bool:
        """Whether it has metrics of the test split."""
        return any(name.startswith("test/") for name in self.metrics)

    @property
    def hparams(self) -> dict[str, str]:
        """The parameters that the model depends on."""
        return {k: v for k, v in self.parameters.items() if k.startswith(_HPARAMS)}


class Runs:
    """The runs of one store; without a store there are none."""

    def __init__(self, store: Store | None) -> None:
        self.store = store
        experiments = [] if store is None else store.client.search_experiments()
        self._experiments = {e.experiment_id: e.name for e in experiments}

    def of_model(self, sha256: str) -> list[RunInfo]:
        """Runs that made the model with this digest."""
        return self._where(_tag(MODEL_TAG, sha256))

    def of_md5(self, md5: str) -> list[RunInfo]:
        """Runs that made the model that DVC knows by this MD5."""
        return self._where(_tag(MODEL_MD5_TAG, md5))

    def of_commit(self, commit: str) -> list[RunInfo]:
        """Trainings that were started from this code; `commit` may be the first digits."""
        # A search may make more trials at one commit than a search for runs returns.
        return self._trainings(_tag(COMMIT_TAG, f"{commit}%", "LIKE"))

    def of_dvc_experiment(self, name: str) -> list[RunInfo]:
        """Runs of the DVC experiment of this name."""
        return self._where(_tag(EXPERIMENT_TAG, name))

    def of_trial(self, study: str, number: int) -> list[RunInfo]:
        """Runs of a trial; several where several studies had this name."""
        return self._where(_tag(STUDY_TAG, study), _tag(TRIAL_TAG, str(number)))

    def of_study(self, study: str) -> list[RunInfo]:
        """The own runs of the studies of this name."""
        return self._where(_tag(STUDY_TAG, study), _tag(STAGE_TAG, "tune"))

    def alike(self, hparams: Mapping[str, Any], data_sha256: str) -> list[RunInfo]:
        """Trainings and trials with the same parameters and the same data."""
        texts = {name: str(value) for name, value in hparams.items()}
        found = self._where(_tag(DATA_TAG, data_sha256), *_indexed(texts))
        return [run for run in found if run.hparams == texts]

    def with_parameters(self, values: Mapping[str, Any]) -> list[RunInfo]:
        """Trainings that made a model and have these parameters; others may have any value."""
        texts = {name: str(value) for name, value in values.items()}
        return [
            run
            for run in self._trainings(*_indexed(texts))
            # A run of an earlier version lacks the parameters that came later.
            if run.model_sha256
            and all(run.parameters.get(name, text) == text for name, text in texts.items())
        ]

    def starting(self, digits: str) -> list[RunInfo]:
        """Runs whose id starts with these digits."""
        return self._where(_condition("attributes.run_id", f"{digits}%", "LIKE"))

    def of_model_starting(self, digits: str) -> list[RunInfo]:
        """Runs whose model's SHA-256 starts with these digits."""
        return self._where(_tag(MODEL_TAG, f"{digits}%", "LIKE"))

    def named(self, name: str) -> list[RunInfo]:
        """Runs of this name."""
        return self._where(_condition("attributes.run_name", name))

    def running(self) -> list[RunInfo]:
        """Runs that have not ended."""
        return self._where(_condition("attributes.status", "RUNNING"))

    def newest(self) -> list[RunInfo]:
        """The newest runs of any kind."""
        return self._where()

    def all_trainings(self, condition: str = "") -> list[RunInfo]:
        """Every training of the store, newest first; those that keep a filter of MLflow, if given.

        Raises `RhobetaError` where MLflow refuses the filter.
        """
        from mlflow.exceptions import MlflowException

        try:
            found = self._where(condition, _tag(STAGE_TAG, "trial", "!="), every=True)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise RhobetaError(
                f"MLflow refuses the filter {condition!r}: {error.message}\nExpected NAME<VALUE (or"
                " <=, >, >=, =, !=), such as test/mse<0.02, or a filter of MLflow, such as"
                " metrics.`test/mse` < 0.02."
            ) from None
        return [run for run in found if run.is_training]

    def get(self, run_id: str, *, deleted: bool = False) -> RunInfo | None:
        """The run with this id; one that was deleted in MLflow only if that is asked for."""
        from mlflow.exceptions import MlflowException

        if self.store is None:
            return None
        try:
            run = self.store.client.get_run(run_id)
        except (MlflowException, UnicodeError):
            return None
        return self._info(run) if deleted or run.info.lifecycle_stage == "active" else None

    def _trainings(self, *conditions: str | None) -> list[RunInfo]:
        found = self._where(*conditions, _tag(STAGE_TAG, "trial", "!="))
        return [run for run in found if run.is_training]

    def _where(self, *conditions: str | None, every: bool = False) -> list[RunInfo]:
        """The newest runs that keep the conditions, at most 1,000; or every one, page by page."""
        if self.store is None or None in conditions:
            return []
        found: list[RunInfo] = []
        token: str | None = None
        while True:
            page = self.store.client.search_runs(
                list(self._experiments),
                filter_string=" and ".join(filter(None, conditions)),
                order_by=["attributes.start_time DESC", "attributes.run_id ASC"],
                max_results=_MOST,
                page_token=token,
            )
            found += map(self._info, page)
            token = page.token if every else None
            if not token:
                return found

    def _info(self, run: "MlflowRun") -> RunInfo:
        info, tags, measured = run.info, run.data.tags, run.data.metrics
        # Whoever can write to the store sets times and tags.
        milliseconds = min(max(info.start_time or 0, 0), _LATEST)
        started = datetime.fromtimestamp(milliseconds / 1000, UTC)
        metrics = {current_metric(name): value for name, value in measured.items()}
        trial = tags.get(TRIAL_TAG, "")
        return RunInfo(
            id=info.run_id,
            name=info.run_name or "",
            status=info.status,
            stage=tags.get(STAGE_TAG, ""),
            started=started.isoformat(timespec="seconds"),
            experiment=self._experiments.get(info.experiment_id, ""),
            experiment_id=info.experiment_id,
            model_sha256=tags.get(MODEL_TAG),
            model_md5=tags.get(MODEL_MD5_TAG),
            data_sha256=tags.get(DATA_TAG),
            metrics_sha256=tags.get(EVALUATION_TAG),
            restored=tags.get(RESTORED_TAG) == "true",
            commit=tags.get(COMMIT_TAG),
            branch=tags.get(BRANCH_TAG, ""),
            dirty=tags.get(DIRTY_TAG) == "true",
            dvc_experiment=tags.get(EXPERIMENT_TAG),
            baseline=tags.get(BASELINE_TAG),
            study=tags.get(STUDY_TAG),
            trial=int(trial) if re.fullmatch("[0-9]{1,9}", trial) else None,
            parent=tags.get(PARENT_TAG),
            chosen_trial=tags.get("rhobeta.chosen_trial"),
            description=tags.get(NOTE_TAG, ""),
            parameters=current_parameters(latest_parameters(run)),
            # Of a run that was evaluated by two versions, the numbers of the later one.
            metrics=metrics | {k: v for k, v in measured.items() if k in metrics},
            splits=_splits(run.inputs.dataset_inputs if run.inputs else ()),
        )


def is_hexadecimal(text: str, *, most: int) -> bool:
    """Whether these are 6 to `most` digits of an id, a commit or a digest."""
    return 6 <= len(text) <= most and set(text) <= set("0123456789abcdef")


def _condition(key: str, value: str, comparison: str = "=") -> str | None:
    """One condition of MLflow's filters; None where they cannot express it."""
    # A surrogate stands for a byte that is not text, which no store holds.
    if {'"', "'"} <= set(value) or any("\ud800" <= letter <= "\udfff" for letter in value):
        return None
    quote = '"' if "'" in value else "'"
    return f"{key} {comparison} {quote}{value}{quote}"


def _tag(name: str, value: str, comparison: str = "=") -> str | None:
    return _condition(f"tags.`{name}`", value, comparison)


def _indexed(texts: Mapping[str, str]) -> list[str | None]:
    return [_condition(f"params.`{name}`", texts[name]) for name in _INDEXED if name in texts]


def _splits(inputs: Iterable[Any]) -> dict[str, str]:
    found = {}
    for entry in inputs:
        tags = {tag.key: tag.value for tag in entry.tags}
        if "sha256" in tags:
            found[tags.get("mlflow.data.context", "")] = tags["sha256"]
    return found
