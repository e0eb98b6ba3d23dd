"""A store that does not answer: what is logged meanwhile waits, and arrives once, in order."""

import functools
import json
import multiprocessing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking import outbox, queued
from rhobeta.tracking.actions import KINDS, Action
from rhobeta.tracking.away import is_away
from rhobeta.tracking.outbox import deliver, outbox_of, reason_of, waiting_runs
from rhobeta.tracking.run import Run, find_run_of_model, new_run, reopened_run
from rhobeta.tracking.store import Store, open_store
from rhobeta.tracking.tags import MODEL_TAG
from rhobeta.utils.files import sha256_of_file

MODEL = "a" * 64


def unreachable() -> MlflowException:
    """What MLflow raises where nobody answers."""
    error = MlflowException("API request failed with exception [Errno 111] Connection refused")
    error.__context__ = requests.ConnectionError("it")
    return error


def cut_off(*_: object) -> None:
    raise unreachable()


class Client:
    """A client whose server can go away, or whose answers can get lost."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.mode = "there"
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._client, name)

        @functools.wraps(plain)
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls.append(name)
            if self.mode == "away":
                raise unreachable()
            answer = plain(*arguments, **named)
            if self.mode == "unheard" and not name.startswith("get_"):
                raise unreachable()
            return answer

        return call


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(tmp_path, tmp_path)


@pytest.fixture
def store(paths: Paths) -> Store:
    opened = open_store(paths, "tests")
    return replace(opened, client=Client(opened.client), outbox=outbox_of(paths))


@pytest.fixture(autouse=True)
def _never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_RETRY_SECONDS", 3600.0)


def log_everything(run: Run, folder: Path) -> None:
    """Every kind of action, with a repeated name and a value that is no number."""
    (folder / "figures" / "deep").mkdir(parents=True, exist_ok=True)
    (folder / "page.html").write_text("page")
    (folder / "figures" / "deep" / "one.png").write_bytes(b"one")
    run.log_params({"penalty.rho": 0.1, "evaluate.x": 1})
    run.log_params({"penalty.rho": 0.2})
    for step in (1, 2):
        run.log_metrics({"train/mse": 1 / step, "l0_at_0.1": float("nan")}, step=step)
    run.set_tags({"name": "first", "other": "x"})
    run.set_tags({"name": "second"})
    run.log_data_set(name="d-train", digest="b" * 64, context="training", profile="{}", source="{}")
    run.log_text("text", "code/diff")
    run.log_file(folder / "page.html")
    run.log_files(folder / "figures", "figures")


def content(store: Store, run_id: str) -> dict[str, Any]:
    """All that a run holds, but what differs between any two runs."""
    client = store.client._client
    run = client.get_run(run_id)
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    return {
        "status": run.info.status,
        "ended": run.info.end_time is not None,
        "params": run.data.params,
        "tags": run.data.tags,
        "metrics": {
            name: [(m.step, repr(m.value)) for m in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "inputs": [
            (i.dataset.name, i.dataset.digest, sorted((t.key, t.value) for t in i.tags))
            for i in run.inputs.dataset_inputs
        ],
        "files": {
            str(p.relative_to(artifacts)): sha256_of_file(p)
            for p in artifacts.rglob("*")
            if p.is_file()
        },
    }


def logged(store: Store, folder: Path, mode: str) -> str:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = mode
        log_everything(run, folder)
    store.client.mode = "there"
    return run.run_id


@pytest.mark.parametrize("mode", ["away", "unheard"])
def test_what_was_logged_while_the_server_was_away_arrives_once(
    store: Store, paths: Paths, tmp_path: Path, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = content(store, logged(store, tmp_path, "there"))
    assert undisturbed["metrics"]["train/mse"] == [(1, "1.0"), (2, "0.5")]
    assert not outbox_of(paths).exists()
    capsys.readouterr()
    run_id = logged(store, tmp_path, mode)
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in said] == ["note:", "note:"]
    assert "does not answer (Connection refused); the work goes on" in said[0]
    assert f"records of MLflow run {run_id} wait" in said[1]
    (waiting,) = waiting_runs(outbox_of(paths))
    kinds = {queued.read(waiting.folder / n).kind for n in queued.names(waiting.folder)}
    assert kinds == set(KINDS) - {"reopen"}
    # Even what is delivered is heard of only the second time.
    store.client.mode = "unheard"
    assert deliver(store, paths).delivered == 0
    store.client.mode = "there"
    delivery = deliver(store, paths)
    assert (delivery.delivered, delivery.left, delivery.reason) == (waiting.actions, 0, None)
    assert content(store, run_id) == undisturbed
    assert not outbox_of(paths).exists()


def test_what_comes_later_waits_its_turn_until_delivery_is_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(outbox.time, "monotonic", lambda: now[0])
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.set_tags({"name": "first"})
        store.client.mode = "there"
        store.client.calls.clear()
        now[0] = 3599.0
        run.set_tags({"name": "second"})
        assert store.client.calls == []
        now[0] = 3601.0
        run.set_tags({"name": "third"})
        assert store.client.calls == ["get_run"] + 3 * ["log_batch"]
        assert "3 records that had waited are delivered" in capsys.readouterr().out
        run.set_tags({"more": "x"})
        assert store.client.calls[-1] == "log_batch"
    assert store.client.get_run(run.run_id).data.tags["name"] == "third"


def test_a_refusal_is_raised_and_does_not_wait(store: Store, paths: Paths) -> None:
    with pytest.raises(MlflowException), new_run(store, name="it", tags={}) as run:
        run.log_metrics({"no such name!": 1.0})
    assert waiting_runs(outbox_of(paths)) == []
    assert store.client.get_run(run.run_id).info.status == "FAILED"


def test_what_the_server_refuses_later_stays_and_is_told(store: Store, paths: Paths) -> None:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.log_metrics({"no such name!": 1.0})
        run.set_tags({"name": "x"})
    store.client.mode = "there"
    delivery = deliver(store, paths)
    assert (delivery.delivered, delivery.left, delivery.away) == (0, 3, False)
    assert "no such name!" in (delivery.reason or "")
    other = replace(store, uri="http://other:5000")
    assert deliver(other, paths).left == 0


def test_of_several_runs_of_a_model_one_that_came_to_its_end_is_found(store: Store) -> None:
    with new_run(store, name="whole", tags={MODEL_TAG: MODEL}) as whole:
        pass
    with pytest.raises(KeyboardInterrupt), new_run(store, name="cut", tags={MODEL_TAG: MODEL}):
        raise KeyboardInterrupt
    found = find_run_of_model(store, MODEL)
    assert found is not None
    assert found.run_id == whole.run_id


def test_a_restored_run_that_waits_is_known_by_its_model(store: Store, paths: Paths) -> None:
    with new_run(store, name="it", tags={MODEL_TAG: MODEL}) as run:
        store.client.mode = "away"
        run.log_params({"a": 1})
    (waiting,) = waiting_runs(outbox_of(paths))
    assert waiting.model_sha256 == MODEL
    assert waiting.is_for(f"{store.uri}/")
    assert not waiting.is_for(f"{store.uri}x")


def test_the_run_of_a_model_is_found_while_it_waits(store: Store, paths: Paths) -> None:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.set_tags({MODEL_TAG: MODEL})
    (waiting,) = waiting_runs(outbox_of(paths))
    assert (waiting.run_id, waiting.model_sha256) == (run.run_id, MODEL)
    found = find_run_of_model(replace(store, away=True), MODEL)
    assert found is not None
    found.set_tags({"measured": "yes"})
    store.client.mode = "there"
    again = find_run_of_model(store, MODEL)
    assert again is not None
    assert again.run_id == run.run_id
    assert waiting_runs(outbox_of(paths)) == []
    assert store.client.get_run(run.run_id).data.tags["measured"] == "yes"


def test_metrics_that_wait_count_as_logged_when_a_run_is_gone_on_with(
    store: Store, paths: Paths
) -> None:
    run = Run(store, store.client.create_run(store.experiment_id).info.run_id)
    run.log_metrics({"train/mse": 1.0}, step=1)
    store.client.mode = "away"
    run.log_metrics({"train/mse": 0.5, "other": 1.0}, step=2)
    store.client.mode = "there"
    # Another process delivers in this moment: what is kept counts too.
    with (
        queued.held(outbox_of(paths) / run.run_id) as held,
        reopened_run(Run(store, run.run_id), tags={}) as again,
    ):
        assert held
        assert again.last_steps == {"train/mse": 2, "other": 2}


def test_a_server_that_goes_away_as_training_begins_does_not_end_it(store: Store) -> None:
    with new_run(store, name="it", tags={}) as run:
        store.client.mode = "away"
        run.log_params({"a": 1})
        assert run.last_steps == {}
        run.log_metrics({"train/mse": 1.0}, step=1)
        store.client.mode = "there"
    assert store.client.get_run(run.run_id).data.metrics == {"train/mse": 1.0}
    assert store.client.get_run(run.run_id).info.status == "FINISHED"


def test_a_training_that_cannot_be_gone_on_with_is_left_as_it_was(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), new_run(store, name="it", tags={}) as run:
        raise KeyboardInterrupt
    store.client.mode = "away"
    with pytest.raises(MlflowException), reopened_run(Run(store, run.run_id), tags={"a": "b"}):
        pytest.fail("opened")
    store.client.mode = "there"
    found = store.client.get_run(run.run_id)
    assert (found.info.status, "a" in found.data.tags) == ("KILLED", False)


def test_a_model_whose_upload_was_cut_off_is_there_once(
    store: Store, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    from mlflow import MlflowClient

    from rhobeta.model.autoencoder import Architecture, Autoencoder
    from rhobeta.model.serialization import ModelDescription, model_to_bytes
    from rhobeta.tracking.package import log_model, logged_model

    architecture = Architecture((2, 2), (3,), "sigmoid", "relu", "sigmoid", tied_weights=False)
    parameters = {"penalty.kind": "kl", "penalty.rho": 0.1}
    description = ModelDescription(architecture, parameters, "d" * 64, best_epoch=1, best_loss=1.0)
    model = model_to_bytes(Autoencoder(architecture), description)
    with new_run(store, name="it", tags={}) as run, monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_model_artifacts", cut_off)
        log_model(run, model, example=np.zeros((2, 4), dtype=np.float32))
        assert [w.run_id for w in waiting_runs(outbox_of(paths))] == [run.run_id]
        assert deliver(store, paths).away
    assert deliver(store, paths).left == 0
    client = store.client._client
    (found,) = client.search_logged_models([store.experiment_id])
    assert found.status == "READY"
    # The run leads to what was cut off as well, in whatever order.
    whole = logged_model(store, run.run_id, store.experiment_id)
    assert whole is not None
    assert whole.model_id == found.model_id
    assert len(client.get_run(run.run_id).outputs.model_outputs) > 1
    (place,) = paths.store.glob(f"artifacts/models/{found.model_id}/artifacts")
    assert (place / "data" / "model" / "autoencoder.safetensors").read_bytes() == model
    assert (place / "code" / "rhobeta" / "extensions.py").is_file()
    assert not list(place.rglob("__pycache__"))


def _add(folder: Path, many: int) -> None:
    for number in range(many):
        queued.put(folder, Action("tags", {"number": number}), {})


def _take(folder: Path, many: int, taken: "multiprocessing.Queue[str]") -> None:
    while many:
        with queued.held(folder) as held:
            for name in queued.names(folder) if held else []:
                taken.put(f"{name.split('-')[1]} {queued.read(folder / name).data['number']}")
                queued.remove(folder / name)
                many -= 1
            queued.tidy(folder)


def test_several_processes_add_and_one_takes_each_once_in_order(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    folder, taken = tmp_path / "outbox" / "run", context.Queue()
    adders = [context.Process(target=_add, args=(folder, 30)) for _ in range(3)]
    taker = context.Process(target=_take, args=(folder, 90, taken))
    for process in (*adders, taker):
        process.start()
    found = [taken.get(timeout=60).split() for _ in range(90)]
    for process in (*adders, taker):
        process.join(60)
        assert process.exitcode == 0
    assert {pid for pid, _ in found} == {str(adder.pid) for adder in adders}
    for adder in adders:
        assert [int(n) for pid, n in found if pid == str(adder.pid)] == list(range(30))
    assert not folder.exists()


def test_what_killed_processes_left_does_not_count_and_goes(tmp_path: Path) -> None:
    folder = tmp_path / "outbox" / "run"
    queued.put(folder, Action("tags", {}), {})
    (name,) = queued.names(folder)
    for left in (".x.part", ".done-x"):
        (folder / left).mkdir()
        (folder / left / "action.json").write_text("{")
    assert queued.names(folder) == [name]
    queued.remove(folder / name)
    queued.tidy(folder)
    assert not folder.exists()


def test_a_clock_that_is_set_back_changes_no_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, now in enumerate((5_000, 3_000, 4_000)):
        monkeypatch.setattr(queued.time, "time_ns", lambda now=now: now)
        queued.put(tmp_path / "run", Action("tags", {"number": number}), {})
    names = queued.names(tmp_path / "run")
    assert [queued.read(tmp_path / "run" / n).data["number"] for n in names] == [0, 1, 2]


def test_a_damaged_action_is_named(tmp_path: Path) -> None:
    queued.put(tmp_path / "run", Action("tags", {}), {})
    (name,) = queued.names(tmp_path / "run")
    (tmp_path / "run" / name / "action.json").write_text(json.dumps({"kind": "tags"})[:-1])
    with pytest.raises(RhobetaError, match=f"{name} is damaged"):
        queued.read(tmp_path / "run" / name)


def _http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError("it", response=response)


def _of_s3(status: int) -> Exception:
    error = Exception("it")
    error.response = {"ResponseMetadata": {"HTTPStatusCode": status}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (unreachable(), True),
        (requests.Timeout("timed out"), True),
        (requests.exceptions.RetryError("too many 503 error responses"), True),
        (RestException({"error_code": "INTERNAL_ERROR"}), True),
        (RestException({"error_code": "TEMPORARILY_UNAVAILABLE"}), True),
        (_http_error(502), True),
        (_of_s3(503), True),
        (RestException({"error_code": "RESOURCE_DOES_NOT_EXIST"}), False),
        (RestException({"error_code": "INVALID_PARAMETER_VALUE"}), False),
        (RestException({"error_code": "PERMISSION_DENIED"}), False),
        (_http_error(413), False),
        (_of_s3(403), False),
        (MlflowException("an error of this side"), False),
        (FileNotFoundError("figures"), False),
        (ValueError("it"), False),
    ],
)
def test_what_counts_as_away(error: Exception, away: bool) -> None:
    assert is_away(error) is away


def test_reasons_are_short_and_without_secrets() -> None:
    text = "HTTPConnectionPool(...): Max retries (Caused by X: [Errno 111] Connection refused'))"
    assert reason_of(Exception(text)) == "Connection refused"
    assert reason_of(Exception("at http://me:secret-word@host/x: " + 300 * "y")).startswith(
        "at http://host/x: yyy"
    )
