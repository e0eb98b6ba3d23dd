"""MLflow runs: one a training, found again by the digest of the model that it made."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.tracking.store import Store, without_password

if TYPE_CHECKING:
    from mlflow.entities import Metric

MODEL_TAG = "rhobeta.model_sha256"
DATA_TAG = "rhobeta.data_sha256"
_ERROR_TAG = "rhobeta.error"
_PARAMETER_LENGTH = 6000
_LOG_BATCH = 100
_METRICS_BATCH = 1000


class StoppedOnPurpose(Exception):  # noqa: N818
    """Ends a run as KILLED without a fault, with `tags` that say why."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{name} {value}" for name, value in tags.items()))
        self.tags = tags


class Run:
    """One run in a store. Values reach the store at once, but for buffered metrics."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.store = store
        self.run_id = run_id
        self._buffer: list[Metric] = []
        self._now = 0

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; one that the run has with another value becomes a tag of its name.

        MLflow never changes a parameter, but the same model can be evaluated anew with others.
        """
        from mlflow.entities import Param

        known = self.store.client.get_run(self.run_id).data.params
        texts = {name: str(value)[:_PARAMETER_LENGTH] for name, value in params.items()}
        self.set_tags({k: v for k, v in texts.items() if known.get(k, v) != v})
        new = [Param(name, value) for name, value in texts.items() if name not in known]
        for start in range(0, len(new), _LOG_BATCH):
            batch = new[start : start + _LOG_BATCH]
            self.store.client.log_batch(self.run_id, params=batch)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name."""
        from mlflow.entities import RunTag

        pairs = [RunTag(name, value) for name, value in tags.items()]
        for start in range(0, len(pairs), _LOG_BATCH):
            self.store.client.log_batch(self.run_id, tags=pairs[start : start + _LOG_BATCH])

    def buffer_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Note metrics of an epoch with the time of now; `flush` sends them."""
        from mlflow.entities import Metric

        # MLflow gives a curve back in the order of its times: they must not fall when the clock is
        # set back.
        self._now = now = max(self._now, int(time.time() * 1000))
        self._buffer += [Metric(metric_name(k), v, now, step) for k, v in metrics.items()]

    def flush(self) -> None:
        """Send what is buffered."""
        while self._buffer:
            batch = self._buffer[:_METRICS_BATCH]
            self.store.client.log_batch(self.run_id, metrics=batch)
            del self._buffer[:_METRICS_BATCH]

    def last_steps(self) -> dict[str, int]:
        """The last step at which the store has each metric of the run."""
        client = self.store.client
        names = client.get_run(self.run_id).data.metrics
        histories = {name: client.get_metric_history(self.run_id, name) for name in names}
        return {name: max(m.step for m in found) for name, found in histories.items() if found}

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics now."""
        self.buffer_metrics(metrics, step=step)
        self.flush()

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file among the run's artifacts."""
        self.store.client.log_artifact(self.run_id, str(path), folder)

    def log_files(self, path: Path, folder: str) -> None:
        """Store a folder's content among the run's artifacts."""
        self.store.client.log_artifacts(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        """Store text as the artifact `name`."""
        self.store.client.log_text(self.run_id, text, name)

    def log_data_set(
        self, *, name: str, digest: str, context: str, profile: str, source: str
    ) -> None:
        """Log a split as one of the run's inputs; `digest` is its SHA-256, kept whole in a tag."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        # MLflow keeps at most 36 characters of a digest.
        data_set = Dataset(
            name=name, digest=digest[:32], source_type="local", source=source, profile=profile
        )
        tags = [InputTag("mlflow.data.context", context), InputTag("sha256", digest)]
        self.store.client.log_inputs(self.run_id, datasets=[DatasetInput(data_set, tags)])


def metric_name(name: str) -> str:
    """The name under which MLflow takes a metric: it allows no `@` and no `+`.

    `l0@0.1` is `l0_at_0.1`, and `code_auroc@1+3` is `code_auroc_at_1_3`.
    """
    return name.replace("@", "_at_").replace("+", "_")


@contextmanager
def new_run(store: Store, *, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run and end it by what became of the body.

    FINISHED on success; KILLED on Ctrl-C, on a request to end (SIGTERM) and on `StoppedOnPurpose`;
    FAILED, with the error in the tag `rhobeta.error`, on any other exception. Buffered metrics are
    sent in every case.
    """
    created = store.client.create_run(store.experiment_id, run_name=name, tags=dict(tags))
    with _to_its_end(Run(store, created.info.run_id)) as run:
        yield run


@contextmanager
def reopened_run(run: Run, *, tags: Mapping[str, str]) -> Iterator[Run]:
    """Go on with a run that was cut off; it ends as a new one does."""
    client = run.store.client
    if _ERROR_TAG in client.get_run(run.run_id).data.tags:
        client.delete_tag(run.run_id, _ERROR_TAG)
    client.update_run(run.run_id, status="RUNNING")
    run.set_tags(tags)
    with _to_its_end(run):
        yield run


@contextmanager
def _to_its_end(run: Run) -> Iterator[Run]:
    try:
        yield run
        run.flush()
    except (KeyboardInterrupt, SystemExit):
        _end(run, "KILLED", {_ERROR_TAG: "interrupted"})
        raise
    except StoppedOnPurpose as stop:
        _end(run, "KILLED", stop.tags)
        raise
    except BaseException as error:
        reason = without_password(f"{type(error).__name__}: {error}")
        _end(run, "FAILED", {_ERROR_TAG: reason[:5000]})
        raise
    run.store.client.set_terminated(run.run_id, "FINISHED")


def find_unfinished_run(store: Store, run_id: str) -> Run | None:
    """The run with this id, if the store has it and it has not finished."""
    from mlflow.exceptions import MlflowException

    try:
        info = store.client.get_run(run_id).info
    except MlflowException:
        return None
    gone = info.lifecycle_stage == "deleted" or info.status == "FINISHED"
    return None if gone else Run(store, run_id)


def find_run_of_model(store: Store, model_sha256: str) -> Run | None:
    """The newest run, of any experiment in the store, that made the model with this digest."""
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    found = store.client.search_runs(
        experiments,
        filter_string=f"tags.`{MODEL_TAG}` = '{model_sha256}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return Run(store, found[0].info.run_id) if found else None


def _end(run: Run, status: str, tags: Mapping[str, str]) -> None:
    try:
        run.flush()
        run.set_tags(tags)
    finally:
        run.store.client.set_terminated(run.run_id, status)
