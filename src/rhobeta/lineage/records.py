"""The MLflow runs that a story is about: searched for by what they are tagged with, and read.

Every search goes through the store's index: none reads all runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

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
    PARENT_TAG,
    RESTORED_TAG,
    STAGE_TAG,
)
from rhobeta.tracking.upload import logged_model
from rhobeta.tuning.runs import STUDY_ID_TAG, STUDY_TAG, TRIAL_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

# Enough to leave few runs to compare whole.
_TELLING = ("penalty.rho", "penalty.beta", "training.seed", "training.epochs")
_MOST = 200
_SCIENCE = ("data.", "model.", "penalty.", "topk.", "training.")


@dataclass(frozen=True)
class Record:
    """One run, as far as it tells where a model comes from."""

    id: str
    name: str
    status: str
    stage: str
    """train, restored, trial or tune."""
    experiment: str
    """The MLflow experiment that it is in."""
    experiment_id: str
    started: str
    tags: dict[str, str]
    parameters: dict[str, str]
    metrics: dict[str, float]
    splits: dict[str, str]
    """SHA-256 of the splits that it took, by what for: training, validation, evaluation."""

    @property
    def is_restored(self) -> bool:
        """Whether it was made anew from a model that came out of a cache."""
        return self.tags.get(RESTORED_TAG) == "true"

    @property
    def model_sha256(self) -> str | None:
        """The model that it made."""
        return self.tags.get(MODEL_TAG)

    @property
    def model_md5(self) -> str | None:
        """The same, as DVC knows it."""
        return self.tags.get(MODEL_MD5_TAG)

    @property
    def metrics_sha256(self) -> str | None:
        """The file of metrics, of the last evaluation that was logged."""
        return self.tags.get(EVALUATION_TAG)

    @property
    def data_sha256(self) -> str | None:
        """The data that it was trained on."""
        return self.tags.get(DATA_TAG)

    @property
    def code(self) -> tuple[str, str, bool] | None:
        """Commit, branch, and whether something differed from the commit."""
        if COMMIT_TAG not in self.tags:
            return None
        dirty = self.tags.get(DIRTY_TAG) == "true"
        return self.tags[COMMIT_TAG], self.tags.get(BRANCH_TAG, ""), dirty

    @property
    def dvc_experiment(self) -> str | None:
        """The DVC experiment that it was run in."""
        return self.tags.get(EXPERIMENT_TAG)

    @property
    def baseline(self) -> str | None:
        """The commit that this experiment starts from."""
        return self.tags.get(BASELINE_TAG)

    @property
    def trial(self) -> tuple[str, int] | None:
        """Study and number, for the run of a trial."""
        number = self.tags.get(TRIAL_TAG, "")
        return (self.tags.get(STUDY_TAG, ""), int(number)) if number.isdigit() else None

    @property
    def study(self) -> str | None:
        """The study, for its own run and those of its trials."""
        return self.tags.get(STUDY_TAG)

    @property
    def study_id(self) -> str | None:
        """What tells this study from others of its name."""
        return self.tags.get(STUDY_ID_TAG)

    @property
    def parent(self) -> str | None:
        """The run that this one is below: that of the study."""
        return self.tags.get(PARENT_TAG)

    @property
    def hparams(self) -> dict[str, str]:
        """The parameters that a model depends on."""
        return {k: v for k, v in self.parameters.items() if k.startswith(_SCIENCE)}

    @property
    def is_of_a_training(self) -> bool:
        """Whether it made a model, or was to make one; not a trial or a study."""
        return self.stage not in ("trial", "tune")


class Records:
    """The runs of one store; none where there is no store."""

    def __init__(self, store: Store | None) -> None:
        self._store = store
        experiments = [] if store is None else store.client.search_experiments()
        self._experiments = {e.experiment_id: e.name for e in experiments}

    @property
    def has_store(self) -> bool:
        """Whether there is a store at all."""
        return self._store is not None

    def of_model(self, sha256: str) -> list[Record]:
        """All runs that claim the model with this digest, newest first."""
        return self._where({f"tags.`{MODEL_TAG}`": sha256})

    def of_md5(self, md5: str) -> list[Record]:
        """All runs that claim the model that DVC knows by this MD5, newest first."""
        return self._where({f"tags.`{MODEL_MD5_TAG}`": md5})

    def of_commit(self, commit: str) -> list[Record]:
        """The trainings that were started from this code, newest first."""
        # A search may make more trials at one commit than are ever read.
        found = self._where({f"tags.`{COMMIT_TAG}`": commit}, but={f"tags.`{STAGE_TAG}`": "trial"})
        return [record for record in found if record.is_of_a_training]

    def of_dvc_experiment(self, name: str) -> list[Record]:
        """The trainings that ran in the DVC experiment of this name, newest first."""
        return self._where({f"tags.`{EXPERIMENT_TAG}`": name})

    def of_trial(self, study: str, number: int) -> list[Record]:
        """The runs of a trial; several where studies of the same name were begun."""
        return self._where({f"tags.`{STUDY_TAG}`": study, f"tags.`{TRIAL_TAG}`": str(number)})

    def of_study(self, study: str) -> list[Record]:
        """The studies' own runs of this name, newest first."""
        return self._where({f"tags.`{STUDY_TAG}`": study, f"tags.`{STAGE_TAG}`": "tune"})

    def alike(self, hparams: Mapping[str, Any], data_sha256: str) -> list[Record]:
        """The runs, of trainings and trials, with the same parameters and data."""
        texts = {name: str(value) for name, value in hparams.items()}
        wanted = {f"params.`{name}`": texts[name] for name in _TELLING if name in texts}
        found = self._where({f"tags.`{DATA_TAG}`": data_sha256, **wanted})
        return [record for record in found if record.hparams == texts]

    def get(self, run_id: str) -> Record | None:
        """The run with this id."""
        found = self._where({"attributes.run_id": run_id})
        return found[0] if found else None

    def starting(self, digits: str) -> list[Record]:
        """The runs whose id starts so."""
        return self._where({"attributes.run_id": f"{digits}%"}, comparison="LIKE")

    def of_model_starting(self, digits: str) -> list[Record]:
        """The runs whose model's digest starts so."""
        return self._where({f"tags.`{MODEL_TAG}`": f"{digits}%"}, comparison="LIKE")

    def named(self, name: str) -> list[Record]:
        """The runs of this name, newest first."""
        return self._where({"attributes.run_name": name})

    def has_package(self, record: Record) -> bool:
        """Whether a packaged model was logged with the run, and its upload came to its end."""
        return (
            self._store is not None
            and logged_model(self._store.client, record.id, record.experiment_id) is not None
        )

    def newest(self) -> list[Record]:
        """A screenful of the newest runs, to offer names from."""
        return self._where({})

    def _where(
        self,
        equal: Mapping[str, str],
        *,
        comparison: str = "=",
        but: Mapping[str, str] | None = None,
    ) -> list[Record]:
        # MLflow's filters have no way to write both kinds of quotes.
        if self._store is None or any({'"', "'"} <= set(value) for value in equal.values()):
            return []
        clauses = [f"{name} {comparison} {_quoted(value)}" for name, value in equal.items()]
        clauses += [f"{name} != {_quoted(value)}" for name, value in (but or {}).items()]
        found = self._store.client.search_runs(
            list(self._experiments),
            filter_string=" and ".join(clauses),
            order_by=["attributes.start_time DESC", "attributes.run_id ASC"],
            max_results=_MOST,
        )
        return [self._record(run) for run in found]

    def _record(self, run: "MlflowRun") -> Record:
        info, data = run.info, run.data
        begun = datetime.fromtimestamp((info.start_time or 0) / 1000, UTC)
        return Record(
            id=info.run_id,
            name=info.run_name or "",
            status=info.status,
            stage=data.tags.get(STAGE_TAG, ""),
            experiment=self._experiments[info.experiment_id],
            experiment_id=info.experiment_id,
            started=begun.isoformat(timespec="seconds"),
            tags=dict(data.tags),
            parameters=latest_parameters(run),
            metrics=dict(data.metrics),
            splits=_splits(run.inputs.dataset_inputs if run.inputs else ()),
        )


def _splits(inputs: Iterable[Any]) -> dict[str, str]:
    found = {}
    for entry in inputs:
        tags = {tag.key: tag.value for tag in entry.tags}
        if "sha256" in tags:
            found[tags.get("mlflow.data.context", "")] = tags["sha256"]
    return found


def _quoted(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"
