"""MLflow runs: one a training, found again by the digest of the model that it made."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rhobeta.tracking.availability import is_unavailable, reason_of
from rhobeta.tracking.pending import (
    find_pending,
    flush_pending,
    is_pending,
    keep_file,
    keep_model,
    keep_values,
)
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.store import Store
from rhobeta.tracking.tags import ERROR_TAG, MODEL_TAG
from rhobeta.tracking.upload import Values, send_file, send_model, send_values
from rhobeta.tracking.view import curve_name

if TYPE_CHECKING:
    from mlflow.entities import Run as RunEntity

R = TypeVar("R")

_PARAMETER_LENGTH = 6000
_RETRY_SECONDS = 60.0


class StoppedOnPurpose(Exception):  # noqa: N818
    """Ends a run as KILLED without a fault, with `tags` that say why."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{name} {value}" for name, value in tags.items()))
        self.tags = tags


class Run:
    """One run in a store.

    Values reach the store at once, except buffered metrics. If the store is a server that stops
    answering, they are kept in `mlruns/pending`, and the work continues: `complete` sends them at
    the end, the next stage or `rhobeta sync` later.
    """

    def __init__(self, store: Store, run_id: str, *, model_sha256: str | None = None) -> None:
        self.store = store
        self.run_id = run_id
        self.last_epoch = 0
        """Of a resumed run, the last epoch whose metrics it has."""
        self._model_sha256 = model_sha256
        self._buffer: list[tuple[str, float, int, int]] = []
        self._now = 0
        self._began = time.monotonic()
        self._offline = is_pending(store, run_id)
        self._retry_at = time.monotonic() + _RETRY_SECONDS

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; one that the run has with another value becomes a tag of its name."""
        texts = {name: str(value)[:_PARAMETER_LENGTH] for name, value in params.items()}
        self._log(Values(params=texts))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name."""
        self._model_sha256 = tags.get(MODEL_TAG, self._model_sha256)
        self._log(Values(tags=dict(tags)))

    def buffer_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Note metrics of an epoch with the present time; `flush` sends them.

        Infinity and NaN, numbers that are not defined, are left out.
        """
        # MLflow orders a curve by time, which must not fall when the clock is set back.
        self._now = now = max(self._now, int(time.time() * 1000))
        self._buffer += [(k, v, now, step) for k, v in metrics.items() if math.isfinite(v)]

    def flush(self) -> None:
        """Send the buffered metrics."""
        if self._buffer:
            buffered, self._buffer = self._buffer, []
            self._log(Values(metrics=buffered))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics now."""
        self.buffer_metrics(metrics, step=step)
        self.flush()

    def log_measured(self, metrics: Mapping[str, float], *, dataset: str, digest: str) -> None:
        """Log metrics of the run's model on a data set that is an input of the run."""
        now = int(time.time() * 1000)
        self._log(Values(measured=[(k, v, now, dataset, digest) for k, v in metrics.items()]))

    def seconds(self) -> float:
        """Seconds since this object was made: those of the present stage."""
        return round(time.monotonic() - self._began, 1)

    def read(self) -> "RunEntity | None":
        """The run as its store has it; None while the store does not answer."""
        if self._offline:
            return None
        try:
            return self.store.client.get_run(self.run_id)
        except Exception as error:
            if self.store.pending is None or not is_unavailable(error):
                raise
            return None

    def log_dataset(
        self, *, name: str, digest: str, context: str, profile: str, source: str
    ) -> None:
        """Log a split as an input of the run; `digest` is its SHA-256, kept whole in a tag."""
        dataset = {"name": name, "digest": digest, "context": context}
        self._log(Values(datasets=[dataset | {"profile": profile, "source": source}]))

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file or a folder, by its own name, in this folder of the run's artifacts."""
        self._send(
            lambda: send_file(self.store, self.run_id, path, folder),
            lambda: keep_file(self.store, self.run_id, path, folder),
        )

    def log_text(self, text: str, name: str) -> None:
        """Store text, as UTF-8, as the artifact `name`."""
        self.log_bytes(text.encode(), name)

    def log_bytes(self, content: bytes, name: str) -> None:
        """Store `content` as the artifact `name`."""
        with tempfile.TemporaryDirectory() as temporary:
            file = Path(temporary, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            folder = str(Path(name).parent)
            self.log_file(file, None if folder == "." else folder)

    def log_model(self, folder: Path) -> None:
        """Store the MLflow model in `folder` as the run's model."""
        self._send(
            lambda: send_model(self.store, self.run_id, folder),
            lambda: keep_model(self.store, self.run_id, folder),
        )

    def end(self, status: str, tags: Mapping[str, str] | None = None) -> None:
        """End the run now, with a status of MLflow, and complete it if its server answers."""
        values = Values(tags=dict(tags or {}), status=status, ended=int(time.time() * 1000))
        self._log(values)
        self.complete()

    def complete(self) -> None:
        """Send what the server could not take, or say that it stays pending."""
        if is_pending(self.store, self.run_id) and not self._is_back():
            print(
                f"note: MLflow run {self.run_id} lacks values that are kept in"
                f" {self.store.pending}; the next stage or `rhobeta sync` completes it once the"
                " server answers",
                flush=True,
            )

    def _log(self, values: Values) -> None:
        def keep() -> None:
            if self._model_sha256 is not None:
                # A pending run is found by its model, too.
                values.tags.setdefault(MODEL_TAG, self._model_sha256)
            keep_values(self.store, self.run_id, values)

        self._send(lambda: send_values(self.store.client, self.run_id, values), keep)

    def _send(self, send: Callable[[], object], keep: Callable[[], object]) -> None:
        """Send something; keep it if the server does not answer, or lacks what came before."""
        if self._offline and time.monotonic() >= self._retry_at:
            self._is_back()
        if not self._offline:
            try:
                send()
            except Exception as error:
                if self.store.pending is None or not is_unavailable(error):
                    raise
                print(
                    f"note: the MLflow server {without_password(self.store.uri)} does not answer"
                    f" ({reason_of(error)}); the work continues, and what cannot be logged is kept"
                    f" in {self.store.pending}",
                    flush=True,
                )
                self._offline, self._retry_at = True, time.monotonic() + _RETRY_SECONDS
            else:
                return
        keep()

    def _is_back(self) -> bool:
        """Whether the server answers again and has been sent what this run lacked."""
        self._retry_at = time.monotonic() + _RETRY_SECONDS
        if self.store.answers():
            flush_pending(self.store, self.run_id)
        self._offline = is_pending(self.store, self.run_id)
        if not self._offline:
            print("note: the MLflow server answers again, and the run is complete", flush=True)
        return not self._offline


@contextmanager
def new_run(store: Store, *, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run, and end it according to how the body ends.

    FINISHED on success; KILLED on Ctrl-C, SIGTERM and `StoppedOnPurpose`; FAILED, with the error in
    the tag `rhobeta.error`, on any other exception. Buffered metrics are sent in every case. Raises
    `StoreUnavailableError` if the server does not answer before the body begins.
    """
    complete_pending(store)
    with store.required():
        created = store.client.create_run(store.experiment_id, run_name=name, tags=dict(tags))
    run = Run(store, created.info.run_id, model_sha256=tags.get(MODEL_TAG))
    with _ending(run):
        yield run


@contextmanager
def reopened_run(run: Run, *, tags: Mapping[str, str]) -> Iterator[Run]:
    """Continue a run that was interrupted; it ends as a new one does."""
    client = run.store.client
    with run.store.required():
        history = client.get_metric_history(run.run_id, curve_name("train/loss"))
        run.last_epoch = max((point.step for point in history), default=0)
        if ERROR_TAG in client.get_run(run.run_id).data.tags:
            client.delete_tag(run.run_id, ERROR_TAG)
        client.update_run(run.run_id, status="RUNNING")
    run.set_tags(tags)
    with _ending(run):
        yield run


@contextmanager
def _ending(run: Run) -> Iterator[None]:
    try:
        yield
        run.flush()
    except (KeyboardInterrupt, SystemExit):
        _end_early(run, "KILLED", {ERROR_TAG: "interrupted"})
        raise
    except StoppedOnPurpose as stop:
        _end_early(run, "KILLED", stop.tags)
        raise
    except BaseException as error:
        reason = without_password(f"{type(error).__name__}: {error}")
        _end_early(run, "FAILED", {ERROR_TAG: reason[:5000]})
        raise
    run.end("FINISHED")


def _end_early(run: Run, status: str, tags: Mapping[str, str]) -> None:
    try:
        run.flush()
        run.end(status, tags)
    except BaseException:
        # Also if a signal comes meanwhile, such as torchrun's to the peers of a killed process.
        run.end(status, tags)
        raise


def complete_pending(store: Store) -> None:
    """Complete all pending runs of the store if it can be done, and print the outcome."""
    flushed = flush_pending(store)
    for run_id in flushed.completed:
        print(f"note: MLflow run {run_id} is complete; its server had not answered", flush=True)
    for run_id, reason in flushed.failed.items():
        print(f"note: MLflow run {run_id} stays incomplete ({reason})", flush=True)


def find_unfinished_run(store: Store, run_id: str) -> Run | None:
    """The run with this id, if the store has it and it has not finished."""
    from mlflow.exceptions import MlflowException

    complete_pending(store)
    try:
        with store.required():
            info = store.client.get_run(run_id).info
    except MlflowException:
        return None
    gone = info.lifecycle_stage == "deleted" or info.status == "FINISHED"
    return None if gone else Run(store, run_id)


def find_run_of_model(store: Store, model_sha256: str) -> Run | None:
    """The run, of any experiment in the store, that made the model with this digest.

    Of several it is the newest that finished, else the newest. Pending runs are completed first; a
    run that stays pending counts, although its store may not know its model yet.
    """
    complete_pending(store)
    if store.pending is not None:
        pending = find_pending(store.pending, store.uri, model_sha256)
        if pending is not None:
            return Run(store, pending.run_id, model_sha256=model_sha256)
    found = newest_finished(runs_of_model(store, model_sha256), lambda run: run.info.status)
    return None if found is None else Run(store, found.info.run_id, model_sha256=model_sha256)


def newest_finished(runs: Sequence[R], status: Callable[[R], str]) -> R | None:
    """Of runs of one model, newest first, the one that counts: the newest that has finished.

    The newest if none has finished; None if there is none.
    """
    return next((run for run in runs if status(run) == "FINISHED"), runs[0] if runs else None)


def runs_of_model(store: Store, model_sha256: str) -> "list[RunEntity]":
    """The runs of all experiments in the store that claim this model, newest first."""
    experiments = [experiment.experiment_id for experiment in store.client.search_experiments()]
    return list(
        store.client.search_runs(
            experiments,
            filter_string=f"tags.`{MODEL_TAG}` = '{model_sha256}'",
            order_by=["attributes.start_time DESC"],
        )
    )


def latest_parameters(run: "RunEntity") -> dict[str, str]:
    """A run's parameters; of one that was logged again with another value, the last.

    MLflow never changes a parameter: `Run.log_params` keeps a later value as a tag of its name.
    """
    tags = run.data.tags
    return {name: tags.get(name, value) for name, value in run.data.params.items()}
