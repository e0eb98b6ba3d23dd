"""The store: where it is, and that many may open it at once."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from helpers import NewStore
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import (
    StoreUnavailableError,
    find_store,
    open_store,
    pending_folder,
    store_uri,
)

OPEN = """
import sys
from pathlib import Path
from rhobeta.paths import Paths
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store
root = Path(sys.argv[1])
store = open_store(Paths(root, root), "shared")
with new_run(store, name=sys.argv[2], tags={}) as run:
    run.log_metrics({"one": 1.0})
"""


@pytest.mark.slow
def test_open_store_in_processes_at_once(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", OPEN, str(tmp_path), str(number)])
        for number in range(3)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    store = open_store(Paths(tmp_path, tmp_path), "shared")
    runs = store.client.search_runs([store.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["0", "1", "2"]
    assert all(run.info.status == "FINISHED" for run in runs)
    # Nothing is left of a database that was being created.
    assert {file.name for file in (tmp_path / "mlruns").iterdir()} <= {"mlflow.db", ".lock"}


def test_store_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(workspace=tmp_path / "temporary", store_root=tmp_path)
    assert store_uri(paths) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server:5000")
    assert store_uri(paths) == "http://server:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////somewhere/else.db")
    assert store_uri(paths) == "sqlite:////somewhere/else.db"
    # One that is relative is the same file in a temporary workspace, which is deleted.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    assert store_uri(paths) == f"sqlite:///{tmp_path}/mine.db"


def test_open_store_twice_in_one_process(tmp_path: Path, new_store: NewStore) -> None:
    environment = dict(os.environ)
    stores = [new_store(Paths(root, root), "tests") for root in (tmp_path / "a", tmp_path / "b")]
    assert stores[0].uri != stores[1].uri
    for store in stores:
        with new_run(store, name=store.uri, tags={}) as run:
            pass
        assert store.client.get_run(run.run_id).info.run_name == store.uri
    location = stores[0].client.get_experiment(stores[0].experiment_id).artifact_location
    assert location == (tmp_path / "a" / "mlruns" / "artifacts").as_uri()
    changed = {k for k, v in os.environ.items() if environment.get(k) != v}
    # No store becomes MLflow's current one.
    assert not changed & {"MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"}


def test_open_store_restores_a_deleted_experiment(tmp_path: Path, new_store: NewStore) -> None:
    paths = Paths(tmp_path, tmp_path)
    store = new_store(paths, "tests")
    store.client.delete_experiment(store.experiment_id)
    again = open_store(paths, "tests")
    assert again.experiment_id == store.experiment_id
    assert again.client.get_experiment(again.experiment_id).lifecycle_stage == "active"


def test_store_required(tmp_path: Path, new_store: NewStore) -> None:
    paths = Paths(tmp_path, tmp_path)
    file = new_store(paths, "tests")
    server = replace(file, uri="http://me:s3cret@server", pending=pending_folder(paths))
    locked = OperationalError("SELECT 1", {}, Exception("database is locked"))
    with pytest.raises(OperationalError), file.required():
        raise locked
    with pytest.raises(StoreUnavailableError, match="http://server does"), server.required():
        raise locked
    with pytest.raises(ValueError, match="it"), server.required():
        raise ValueError("it")
    assert not server.answers()


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:secret@host:5432/runs", "postgresql://host:5432/runs"),
        ("http://me:secret@host/path", "http://host/path"),
        ("sqlite:////tmp/mlruns/mlflow.db", "sqlite:////tmp/mlruns/mlflow.db"),
        ("failed for http://me:s3@h:1/x and more", "failed for http://h:1/x and more"),
    ],
)
def test_without_password(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


def test_open_store_of_an_unknown_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "carrierpigeon://coop")
    with pytest.raises(RhobetaError, match="carrierpigeon://coop cannot be used"):
        open_store(Paths(tmp_path, tmp_path), "tests")


def test_find_store_creates_nothing(tmp_path: Path) -> None:
    assert find_store(Paths(tmp_path, tmp_path)) is None
    assert list(tmp_path.iterdir()) == []
