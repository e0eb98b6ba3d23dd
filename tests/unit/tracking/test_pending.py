"""A server that does not answer: what a run lacks is kept, and sent once the server is back."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException, RestException

from helpers import NewStore
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_from_bytes, model_to_bytes
from rhobeta.paths import Paths
from rhobeta.tracking import run as run_module
from rhobeta.tracking.availability import is_unavailable, reason_of
from rhobeta.tracking.package import log_model
from rhobeta.tracking.pending import flush_pending, is_pending, pending_runs
from rhobeta.tracking.run import Run, find_run_of_model, find_unfinished_run, new_run, reopened_run
from rhobeta.tracking.store import Store, StoreUnavailableError, pending_folder
from rhobeta.tracking.tags import MODEL_TAG
from rhobeta.tracking.upload import logged_model
from rhobeta.utils.files import sha256_of_bytes, sha256_of_file

MODEL = "a" * 64


def no_answer() -> MlflowException:
    """What MLflow raises if nothing answers."""
    error = MlflowException("API request failed with exception [Errno 111] Connection refused")
    error.__context__ = requests.ConnectionError("it")
    return error


class Client:
    """A client whose server can go away, or whose answers can get lost."""

    def __init__(self, client: Any) -> None:
        self.plain = client
        self.mode = "there"
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self.plain, name)

        @functools.wraps(plain)
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if self.mode == "away":
                raise no_answer()
            answer = plain(*arguments, **named)
            if self.mode == "unheard" and not name.startswith(("get_", "search_")):
                raise no_answer()
            return answer

        return call


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path)


@pytest.fixture
def store(paths: Paths, new_store: NewStore) -> Store:
    opened = new_store(paths, "tests")
    return replace(opened, client=Client(opened.client), pending=pending_folder(paths))


@pytest.fixture(scope="module")
def model() -> bytes:
    architecture = Architecture((2, 2), (3,), "sigmoid", "relu", "sigmoid", tied_weights=False)
    parameters = {"penalty.kind": "kl", "penalty.rho": 0.1}
    description = ModelDescription(architecture, parameters, "d" * 64, best_epoch=1, best_loss=1.0)
    return model_to_bytes(Autoencoder(architecture), description)


def log_everything(run: Run, folder: Path, model: bytes) -> None:
    (folder / "figures" / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "page.html").write_text("page")
    (folder / "figures" / "deep" / "one.png").write_bytes(b"one")
    run.log_params({"penalty.rho": 0.1, "evaluate.x": 1})
    for step in (1, 2):
        run.log_metrics({"train/mse": 1 / step, "l0_at_0.1": float("nan")}, step=step)
    run.set_tags({"name": "first", "other": "x"})
    run.set_tags({"name": "second"})
    run.log_dataset(name="d-train", digest="b" * 64, context="training", profile="{}", source="{}")
    run.log_text("text", "code/diff")
    run.log_file(folder / "page.html")
    run.log_file(folder / "figures")
    log_model(run, model, example=np.zeros((2, 4), dtype=np.float32))
    run.log_measured({"test/mse": 0.5}, dataset="d-train", digest="b" * 64)


def content(store: Store, run_id: str) -> dict[str, Any]:
    """All that a run holds, except what differs between any two runs."""
    client = store.client.plain
    run = client.get_run(run_id)
    packaged = logged_model(client, run_id, run.info.experiment_id)
    assert packaged is not None
    assert [output.model_id for output in run.outputs.model_outputs] == [packaged.model_id]
    folders = [Path(uri.removeprefix("file://")) for uri in
               (run.info.artifact_uri, packaged.artifact_location)]  # fmt: skip
    return {
        "status": run.info.status,
        "ended": run.info.end_time is not None,
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {
            name: [(m.step, repr(m.value)) for m in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "of the model": [(m.key, m.value, m.dataset_name) for m in packaged.metrics],
        "inputs": [
            (i.dataset.name, i.dataset.digest, sorted((t.key, t.value) for t in i.tags))
            for i in run.inputs.dataset_inputs
        ],
        "files": {
            str(p.relative_to(folder)): sha256_of_file(p)
            for folder in folders
            for p in folder.rglob("*")
            # It holds the model's id and the time.
            if p.is_file() and p.name != "MLmodel"
        },
    }


def logged(store: Store, folder: Path, model: bytes, mode: str) -> str:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = mode
        log_everything(run, folder, model)
    store.client.mode = "there"
    return run.run_id


@pytest.mark.parametrize("mode", ["away", "unheard"])
def test_run_is_complete_after_an_outage(
    store: Store, paths: Paths, tmp_path: Path, model: bytes, mode: str, capsys: Any
) -> None:
    undisturbed = content(store, logged(store, tmp_path, model, "there"))
    assert undisturbed["metrics"]["train/mse"] == [(1, "1.0"), (2, "0.5")]
    assert any(name.endswith("autoencoder.safetensors") for name in undisturbed["files"])
    assert not pending_folder(paths).exists()
    capsys.readouterr()
    run_id = logged(store, tmp_path, model, mode)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["note:", "note:"]
    assert "does not answer (Connection refused); the work continues" in said[0]
    assert f"MLflow run {run_id} lacks" in said[1]
    assert [run.run_id for run in pending_runs(pending_folder(paths))] == [run_id]
    # Each call reaches the server, and its answer is lost.
    store.client.mode = "unheard"
    assert flush_pending(store).failed == {run_id: "Connection refused"}
    store.client.mode = "there"
    assert flush_pending(store).completed == [run_id]
    assert content(store, run_id) == undisturbed
    assert not is_pending(store, run_id)


def test_model_upload_after_an_interruption(
    store: Store, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise no_answer()

    with new_run(store, name="it", tags={}) as run, monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", cut_off)
        log_model(run, model, example=np.zeros((2, 4), dtype=np.float32))
    assert not is_pending(store, run.run_id)
    (found,) = store.client.plain.search_logged_models([store.experiment_id])
    assert found.status == "READY"


def test_model_of_other_weights_replaces_the_first(store: Store, model: bytes) -> None:
    saved = model_from_bytes(model, name="it")
    other = model_to_bytes(saved.model, replace(saved.description, best_epoch=2))
    example = np.zeros((2, 4), dtype=np.float32)
    with new_run(store, name="it", tags={}) as run:
        for content in (model, model, other):
            log_model(run, content, example=example)
    (found,) = store.client.plain.search_logged_models([store.experiment_id])
    assert found.tags[MODEL_TAG] == sha256_of_bytes(other)
    outputs = store.client.plain.get_run(run.run_id).outputs.model_outputs
    assert found.model_id in {output.model_id for output in outputs}


def test_pending_runs_while_one_is_completed(
    store: Store, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.set_tags({"a": "b"})
    plain = Path.read_text

    def gone(file: Path, *arguments: Any, **named: Any) -> str:
        file.unlink(missing_ok=True)
        return plain(file, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", gone)
    assert pending_runs(pending_folder(paths)) == []


def test_run_is_completed_when_the_server_is_back(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    now = [0.0]
    monkeypatch.setattr(run_module.time, "monotonic", lambda: now[0])
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.set_tags({"name": "first"})
        store.client.mode = "there"
        store.client.calls.clear()
        now[0] = run_module._RETRY_SECONDS - 1
        run.set_tags({"name": "second"})
        assert store.client.calls == []
        now[0] += 2
        run.set_tags({"name": "third"})
        assert "answers again" in capsys.readouterr().out
        assert not is_pending(store, run.run_id)
    assert store.client.get_run(run.run_id).data.tags["name"] == "third"


def test_refused_values_are_not_kept(store: Store, paths: Paths) -> None:
    with pytest.raises(MlflowException), new_run(store, name="it", tags={}) as run:
        run.log_metrics({"no such name!": 1.0})
    assert pending_runs(pending_folder(paths)) == []
    assert store.client.get_run(run.run_id).info.status == "FAILED"


def test_flush_of_values_that_are_refused(store: Store) -> None:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.log_metrics({"no such name!": 1.0})
    store.client.mode = "there"
    flushed = flush_pending(store)
    assert flushed.completed == []
    assert "no such name!" in flushed.failed[run.run_id]
    assert flush_pending(replace(store, uri="http://other:5000")).failed == {}
    assert is_pending(store, run.run_id)


def test_find_run_of_model_while_pending(store: Store) -> None:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.set_tags({MODEL_TAG: MODEL})
    found = find_run_of_model(store, MODEL)
    assert found is not None
    assert found.run_id == run.run_id
    found.set_tags({"measured": "yes"})
    store.client.mode = "there"
    again = find_run_of_model(store, MODEL)
    assert again is not None
    assert again.run_id == run.run_id
    assert store.client.get_run(run.run_id).data.tags["measured"] == "yes"


def test_new_run_without_a_server(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), new_run(store, name="it", tags={}) as run:
        raise KeyboardInterrupt
    store.client.mode = "away"
    with pytest.raises(StoreUnavailableError), new_run(store, name="it", tags={}):
        pytest.fail("opened")
    with pytest.raises(StoreUnavailableError):
        find_unfinished_run(store, run.run_id)
    with pytest.raises(StoreUnavailableError), reopened_run(Run(store, run.run_id), tags={}):
        pytest.fail("opened")
    store.client.mode = "there"
    assert store.client.get_run(run.run_id).info.status == "KILLED"


def test_pending_runs_with_a_damaged_file(store: Store, paths: Paths) -> None:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.set_tags({"name": "x"})
    file = pending_folder(paths) / run.run_id / "run.json"
    file.write_text(file.read_text()[:-1])
    with pytest.raises(RhobetaError, match=f"{file} is damaged"):
        pending_runs(pending_folder(paths))


def _http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("it", response=response)


def _s3_error(status: int) -> Exception:
    error = Exception("it")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "unavailable"),
    [
        (no_answer(), True),
        (requests.Timeout("timed out"), True),
        (requests.exceptions.RetryError("too many 503 error responses"), True),
        (RestException({"error_code": "INTERNAL_ERROR"}), True),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE"}), True),
        (_http_error(502), True),
        (_s3_error(503), True),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST"}), False),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE"}), False),
        (RestException({"error_code": "PERMISSION_DENIED"}), False),
        (_http_error(413), False),
        (_s3_error(403), False),
        (MlflowException("an error of this side"), False),
        (FileNotFoundError("figures"), False),
        (ValueError("it"), False),
    ],
)
def test_is_unavailable(error: Exception, unavailable: bool) -> None:
    assert is_unavailable(error) is unavailable


def test_reason_of_is_short_and_without_secrets() -> None:
    text = "HTTPConnectionPool(...): Max retries (Caused by X: [Errno 111] Connection refused'))"
    assert reason_of(Exception(text)) == "Connection refused"
    assert reason_of(Exception("at http://me:secret-word@host/x: " + 300 * "y")).startswith(
        "at http://host/x: yyy"
    )
