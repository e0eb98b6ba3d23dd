"""MLflow runs: one a training, found again by the digest of the model that it made."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.tracking.actions import ERROR_TAG, Action, ending
from rhobeta.tracking.away import is_away
from rhobeta.tracking.outbox import Courier, deliver_from, run_waiting_for_model
from rhobeta.tracking.store import Store, without_password
from rhobeta.tracking.tags import MODEL_TAG

if TYPE_CHECKING:
    from mlflow.entities import Run as RunEntity

_PARAMETER_LENGTH = 6000
_METRICS_BATCH = 1000


class StoppedOnPurpose(Exception):  # noqa: N818
    """Ends a run as KILLED without a fault, with `tags` that say why."""

    def __init__(self, tags: Mapping[str, str]) -> None:
        super().__init__(", ".join(f"{name} {value}" for name, value in tags.items()))
        self.tags = tags


class Run:
    """One run in a store. Values reach the store at once, but for buffered metrics.

    Where the store is a server that goes away meanwhile, they reach the outbox, and the server
    when it is back; see `rhobeta.tracking.outbox`.
    """

    def __init__(self, store: Store, run_id: str, *, model_sha256: str | None = None) -> None:
        self.store = store
        self.run_id = run_id
        self._courier = Courier(store, run_id)
        self._courier.model_sha256 = model_sha256
        self._buffer: list[tuple[str, float, int, int]] = []
        self._now = 0
        self.last_steps: dict[str, int] = {}
        """Of a run that is gone on with, the last step of each metric that it had before."""

    def do(self, action: Action) -> None:
        """Do it to this run, now or when its server is back."""
        self._courier.do(action)

    def kept(self) -> Iterator[Action]:
        """What waits for the server, in order."""
        return self._courier.kept()

    def settle(self) -> None:
        """At the end of a stage: deliver what still waits for the server, or say that it waits."""
        self._courier.settle()

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Log parameters; one that the run has with another value becomes a tag of its name."""
        texts = {name: str(value)[:_PARAMETER_LENGTH] for name, value in params.items()}
        self.do(Action("params", {"params": texts}))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, over those of the same name."""
        self._courier.model_sha256 = tags.get(MODEL_TAG, self._courier.model_sha256)
        self.do(Action("tags", {"tags": dict(tags)}))

    def buffer_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Note metrics of an epoch with the time of now; `flush` sends them."""
        # MLflow gives a curve back in the order of its times: they must not fall when the clock is
        # set back.
        self._now = now = max(self._now, int(time.time() * 1000))
        self._buffer += [(k, v, now, step) for k, v in metrics.items()]

    def flush(self) -> None:
        """Send what is buffered."""
        while self._buffer:
            self.do(Action("metrics", {"metrics": self._buffer[:_METRICS_BATCH]}))
            del self._buffer[:_METRICS_BATCH]

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log metrics now."""
        self.buffer_metrics(metrics, step=step)
        self.flush()

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Store a file among the run's artifacts."""
        self.do(Action("file", {"folder": folder}, {path.name: path}))

    def log_files(self, path: Path, folder: str) -> None:
        """Store a folder's content among the run's artifacts."""
        self.do(Action("files", {"folder": folder}, {path.name: path}))

    def log_text(self, text: str, name: str) -> None:
        """Store text as the artifact `name`."""
        self.do(Action("text", {"text": text, "name": name}))

    def log_data_set(
        self, *, name: str, digest: str, context: str, profile: str, source: str
    ) -> None:
        """Log a split as one of the run's inputs; `digest` is its SHA-256, kept whole in a tag."""
        # MLflow keeps at most 36 characters of a digest.
        data_set = {"name": name, "digest": digest[:32], "source": source, "profile": profile}
        tags = {"mlflow.data.context": context, "sha256": digest}
        self.do(Action("data_set", {"data_set": data_set, "tags": tags}))


@contextmanager
def new_run(store: Store, *, name: str, tags: Mapping[str, str]) -> Iterator[Run]:
    """Open a run and end it by what became of the body.

    FINISHED on success; KILLED on Ctrl-C, on a request to end (SIGTERM) and on `StoppedOnPurpose`;
    FAILED, with the error in the tag `rhobeta.error`, on any other exception. Buffered metrics are
    sent in every case.
    """
    deliver_waiting(store)
    created = store.client.create_run(store.experiment_id, run_name=name, tags=dict(tags))
    run = Run(store, created.info.run_id, model_sha256=tags.get(MODEL_TAG))
    with _to_its_end(run):
        yield run


@contextmanager
def reopened_run(run: Run, *, tags: Mapping[str, str]) -> Iterator[Run]:
    """Go on with a run that was cut off; it ends as a new one does."""
    deliver_waiting(run.store)
    # While nothing has been done yet, it may still fail.
    run.last_steps = _last_steps(run)
    run.do(Action("reopen", {}))
    run.set_tags(tags)
    with _to_its_end(run):
        yield run


def _last_steps(run: Run) -> dict[str, int]:
    """The last step at which the store has, or is to be brought, each metric of the run."""
    client = run.store.client
    names = client.get_run(run.run_id).data.metrics
    histories = {name: client.get_metric_history(run.run_id, name) for name in names}
    last = {name: max(m.step for m in found) for name, found in histories.items() if found}
    for action in run.kept():
        for name, _, _, step in action.data.get("metrics", ()):
            last[name] = max(step, last.get(name, step))
    return last


@contextmanager
def _to_its_end(run: Run) -> Iterator[Run]:
    try:
        yield run
        run.flush()
    except (KeyboardInterrupt, SystemExit):
        _end(run, "KILLED", {ERROR_TAG: "interrupted"})
        raise
    except StoppedOnPurpose as stop:
        _end(run, "KILLED", stop.tags)
        raise
    except BaseException as error:
        reason = without_password(f"{type(error).__name__}: {error}")
        _end(run, "FAILED", {ERROR_TAG: reason[:5000]})
        raise
    run.do(ending("FINISHED"))
    run.settle()


def deliver_waiting(store: Store) -> None:
    """Deliver what waits for this store, of any run, if it can be."""
    if store.outbox is not None and not store.away:
        deliver_from(store, store.outbox)


def find_unfinished_run(store: Store, run_id: str) -> Run | None:
    """The run with this id, if the store has it and it has not finished."""
    from mlflow.exceptions import MlflowException

    try:
        info = store.client.get_run(run_id).info
    except MlflowException as error:
        if is_away(error):
            raise
        return None
    gone = info.lifecycle_stage == "deleted" or info.status == "FINISHED"
    return None if gone else Run(store, run_id)


def find_run_of_model(store: Store, model_sha256: str) -> Run | None:
    """The newest run, of any experiment in the store, that made the model with this digest.

    One that did not come to its end counts only where no other did. What waits for the store is
    delivered first; a run to which that was not possible counts.
    """
    deliver_waiting(store)
    if store.outbox is not None:
        waiting = run_waiting_for_model(store.outbox, store.uri, model_sha256)
        if waiting is not None:
            return Run(store, waiting.run_id, model_sha256=model_sha256)
    found = runs_of_model(store, model_sha256)
    if not found:
        return None
    finished = [run for run in found if run.info.status == "FINISHED"]
    return Run(store, [*finished, *found][0].info.run_id, model_sha256=model_sha256)


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
    """A run's parameters; one that was logged again with another value has the last.

    MLflow never changes a parameter: `Run.log_params` keeps a later value as a tag of its name.
    """
    tags = run.data.tags
    return {name: tags.get(name, value) for name, value in run.data.params.items()}


def _end(run: Run, status: str, tags: Mapping[str, str]) -> None:
    try:
        run.flush()
        run.set_tags(tags)
    finally:
        run.do(ending(status))
        run.settle()
