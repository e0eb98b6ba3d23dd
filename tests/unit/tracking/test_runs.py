"""Runs in a real sqlite store: how they end, what they hold, how they are found."""

import math
from pathlib import Path

import pytest
from mlflow.models import Model

from helpers import NewStore
from rhobeta.paths import Paths
from rhobeta.tracking.run import find_run_of_model, new_run
from rhobeta.tracking.store import Store, open_store
from rhobeta.tracking.tags import MODEL_TAG
from rhobeta.tracking.upload import logged_model


@pytest.fixture
def store(tmp_path: Path, new_store: NewStore) -> Store:
    return new_store(Paths(tmp_path, tmp_path), "tests")


def _ended(store: Store, run_id: str):
    return store.client.get_run(run_id)


@pytest.mark.parametrize(
    ("error", "status", "noted"),
    [
        (KeyboardInterrupt(), "KILLED", "interrupted"),
        (SystemExit(143), "KILLED", "interrupted"),
        (ValueError("no such thing"), "FAILED", "ValueError: no such thing"),
    ],
)
def test_run_status_after_an_error(store, error, status, noted):
    with (
        pytest.raises(type(error)),
        new_run(store, name="broken", tags={"kept": "yes"}) as run,
    ):
        run.buffer_metrics({"train/mse": 0.5}, step=3)
        raise error
    ended = _ended(store, run.run_id)
    assert ended.info.status == status
    assert ended.data.tags["rhobeta.error"] == noted
    assert ended.data.tags["kept"] == "yes"
    assert ended.data.metrics["train/mse"] == 0.5
    assert ended.info.end_time is not None


def test_run_status_and_buffered_metrics(store):
    with new_run(store, name="good", tags={}) as run:
        for step in range(1, 1203):
            run.buffer_metrics({"train/mse": 1 / step}, step=step)
        assert _ended(store, run.run_id).info.status == "RUNNING"
    ended = _ended(store, run.run_id)
    assert ended.info.status == "FINISHED"
    assert "rhobeta.error" not in ended.data.tags
    curve = store.client.get_metric_history(run.run_id, "train/mse")
    assert [point.step for point in curve] == list(range(1, 1203))
    assert math.isclose(curve[-1].value, 1 / 1202)


def test_log_params_with_another_value(store):
    with new_run(store, name="evaluated twice", tags={}) as run:
        run.log_params({"evaluate.dead_threshold": 0.1, "penalty.rho": 0.05})
        run.log_params({"evaluate.dead_threshold": 0.2, "visualize.dpi": 120})
    data = _ended(store, run.run_id).data
    assert data.params["evaluate.dead_threshold"] == "0.1"
    assert data.tags["evaluate.dead_threshold"] == "0.2"
    assert data.params["visualize.dpi"] == "120"
    assert "penalty.rho" not in data.tags


def test_log_params_more_than_one_batch(store):
    with new_run(store, name="many", tags={}) as run:
        run.log_params({f"group.name{n}": n for n in range(250)})
    assert len(_ended(store, run.run_id).data.params) == 250


def test_log_dataset_keeps_the_digest(store):
    digest = "0123456789abcdef" * 4
    with new_run(store, name="data", tags={}) as run:
        run.log_dataset(
            name="mnist-train", digest=digest, context="training", profile="{}", source="{}"
        )
    (logged,) = _ended(store, run.run_id).inputs.dataset_inputs
    assert logged.dataset.name == "mnist-train"
    assert digest.startswith(logged.dataset.digest)
    tags = {tag.key: tag.value for tag in logged.tags}
    assert tags == {"mlflow.data.context": "training", "sha256": digest}


def test_find_run_of_model_in_any_experiment(store, tmp_path):
    elsewhere = open_store(Paths(tmp_path, tmp_path), "another experiment")
    assert find_run_of_model(store, "a" * 64) is None
    for place in (store, elsewhere):
        with new_run(place, name="trained", tags={MODEL_TAG: "a" * 64}) as run:
            pass
    with new_run(store, name="other model", tags={MODEL_TAG: "b" * 64}):
        pass
    found = find_run_of_model(store, "a" * 64)
    assert found is not None
    assert found.run_id == run.run_id


def test_log_metrics_names(store):
    with new_run(store, name="names", tags={}) as run:
        run.log_metrics({"validation/l0_at_0.1": 3.0, "anomaly/code_auroc_at_1_3": 0.5}, step=1)
    assert _ended(store, run.run_id).data.metrics == {
        "validation/l0_at_0.1": 3.0,
        "anomaly/code_auroc_at_1_3": 0.5,
    }


def test_measured_metrics_are_linked_to_model_and_data(store, tmp_path):
    digest = "0123456789abcdef" * 4
    with new_run(store, name="exp: rho=0.5", tags={}) as run:
        run.log_dataset(
            name="mnist-test", digest=digest, context="evaluation", profile="{}", source="{}"
        )
        (tmp_path / "package").mkdir()
        Model(metadata={"model_sha256": "a" * 64}).save(tmp_path / "package" / "MLmodel")
        run.log_model(tmp_path / "package")
        run.log_measured({"test/mse": 0.25}, dataset="mnist-test", digest=digest)
    model = logged_model(store.client, run.run_id, store.experiment_id)
    assert model is not None
    assert model.name == "exp_ rho=0_5"
    (metric,) = model.metrics
    (logged,) = _ended(store, run.run_id).inputs.dataset_inputs
    assert (metric.key, metric.value, metric.dataset_name) == ("test/mse", 0.25, "mnist-test")
    assert metric.dataset_digest == logged.dataset.digest
    assert _ended(store, run.run_id).data.metrics == {"test/mse": 0.25}
