"""The store: where it is, and that many may open it at once."""

import errno
import http.server
import json
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.models import Model
from sqlalchemy.exc import OperationalError

from helpers import NewStore
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking import store as store_module
from rhobeta.tracking.database import prepare_database
from rhobeta.tracking.run import Run, new_run
from rhobeta.tracking.store import (
    StoreUnavailableError,
    find_store,
    open_store,
    pending_folder,
    store_uri,
    unavailable_store,
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
        for number in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    store = open_store(Paths(tmp_path, tmp_path), "shared")
    runs = store.client.search_runs([store.experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["0", "1"]
    assert all(run.info.status == "FINISHED" for run in runs)
    modes = {
        name: (tmp_path / "mlruns" / name).stat().st_mode for name in ("mlflow.db", "artifacts")
    }
    assert not [name for name, mode in modes.items() if mode & 0o077]
    # Nothing is left of a database that was being created.
    assert {file.name for file in (tmp_path / "mlruns").iterdir()} <= {
        "mlflow.db",
        ".lock",
        "artifacts",
    }


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


def _addresses(database: Path) -> set[str]:
    """All addresses of files that MLflow has stored, but those of the registry's own kind."""
    with sqlite3.connect(database) as connection:
        found = {
            address
            for query in (
                "SELECT artifact_location FROM experiments",
                "SELECT artifact_uri FROM runs",
                "SELECT artifact_location FROM logged_models",
                "SELECT source FROM model_versions",
                "SELECT storage_location FROM model_versions",
            )
            for (address,) in connection.execute(query)
        }
    return {address for address in found if not address.startswith("models:")}


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _project_with_a_run(root: Path, new_store: NewStore) -> str:
    """A store with a run that has a file, a packaged model and a registered version of it."""
    store = new_store(Paths(root, root), "tests")
    (root / "package").mkdir()
    Model(metadata={"model_sha256": "a" * 64}).save(root / "package" / "MLmodel")
    with new_run(store, name="it", tags={}) as run:
        run.log_text("before", "note.txt")
        run.log_model(root / "package")
    (model,) = store.client.search_logged_models([store.experiment_id])
    with sqlite3.connect(root / "mlruns" / "mlflow.db") as connection:
        connection.execute("INSERT INTO registered_models (name) VALUES ('it')")
        connection.execute(
            "INSERT INTO model_versions (name, version, source, storage_location)"
            " VALUES ('it', 1, ?, ?)",
            (f"models:/{model.model_id}", model.artifact_location),
        )
    return run.run_id


def test_store_of_a_moved_project_is_all_where_it_is_now(
    tmp_path: Path, new_store: NewStore
) -> None:
    run_id = _project_with_a_run(tmp_path / "old", new_store)
    (tmp_path / "old").rename(tmp_path / "new place")
    store = open_store(Paths(tmp_path / "new place", tmp_path / "new place"), "tests")
    run = Run(store, run_id)
    run.log_text("after", "more/note.txt")
    place = f"{(tmp_path / 'new place').as_uri()}/"
    database = tmp_path / "new place" / "mlruns" / "mlflow.db"
    assert all(address.startswith(place) for address in _addresses(database))
    found = {f.path for f in store.client.list_artifacts(run_id)}
    assert found == {"note.txt", "more"}
    assert not (tmp_path / "old").exists()
    # No file names a path: the packaged model says where it belongs in its run.
    files = _files(tmp_path / "new place" / "mlruns" / "artifacts")
    assert not [name for name, content in files.items() if str(tmp_path).encode() in content]


def test_copied_project_leaves_the_original_unchanged(tmp_path: Path, new_store: NewStore) -> None:
    run_id = _project_with_a_run(tmp_path / "old", new_store)
    shutil.copytree(tmp_path / "old", tmp_path / "copy")
    before = _files(tmp_path / "old")
    paths = Paths(tmp_path / "copy", tmp_path / "copy")
    # A reader may not be able to write into the database.
    for name in ("reader", "writer"):
        with pytest.MonkeyPatch.context() as patch:
            if name == "reader":
                patch.setattr(store_module, "relocate", _refuse)
            store = open_store(paths, "tests") if name == "writer" else find_store(paths)
        assert store is not None
        Run(store, run_id).log_text("copy", f"{name}.txt")
        assert (
            tmp_path / "copy" / "mlruns" / "artifacts" / run_id / "artifacts" / f"{name}.txt"
        ).is_file()
    assert _files(tmp_path / "old") == before


def _refuse(*_: object) -> None:
    raise sqlite3.OperationalError("attempt to write a readonly database")


def test_open_store_whose_files_are_on_another_machine(
    tmp_path: Path, blank_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    shutil.copyfile(blank_database, tmp_path / "shared" / "runs.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared/runs.db")
    for name in ("one", "two"):
        store = open_store(Paths(tmp_path / name, tmp_path / name), "tests")
        (experiment,) = store.client.search_experiments(filter_string="name = 'tests'")
        # Beside the database, not in the project that came first.
        assert experiment.artifact_location == (tmp_path / "shared" / "artifacts").as_uri()
    with sqlite3.connect(tmp_path / "shared" / "runs.db") as connection:
        connection.execute("UPDATE experiments SET artifact_location = '/gone/mlruns/artifacts'")
    with pytest.raises(RhobetaError, match="/gone/mlruns is not there"):
        open_store(Paths(tmp_path / "one", tmp_path / "one"), "tests")


class _LocalFiles(http.server.BaseHTTPRequestHandler):
    """A server that says that the files of its runs lie on the client's machine."""

    def do_GET(self) -> None:
        found = {"experiment_id": "1", "name": "tests", "artifact_location": "file:///home/me"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"experiment": found}).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_server_whose_files_are_local_is_refused(
    tmp_path: Path, new_store: NewStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path, tmp_path)
    store = replace(new_store(paths, "tests"), uri="http://127.0.0.1:9", mlruns=None)
    with new_run(store, name="it", tags={}) as run:
        # The address of the run is that of a file.
        with pytest.raises(RhobetaError, match="a path on this machine"):
            run.log_text("secret", "note.txt")
        with pytest.raises(RhobetaError, match="a path on this machine"):
            store.files_at(f"file://{tmp_path}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _LocalFiles)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
    # Before any training.
    with pytest.raises(RhobetaError, match="file:///home/me, a path on this machine"):
        open_store(paths, "tests")
    server.shutdown()
    server.server_close()
    assert not [path for path in tmp_path.rglob("*") if path.name == "note.txt"]


@pytest.mark.parametrize("address", ["file://{}/runs", "file:{}/runs", "{}/runs", "./runs", "runs"])
def test_store_in_a_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    paths = Paths(tmp_path / "temporary", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(tmp_path))
    # MLflow's own way out would work in some commands alone.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    for ask in (store_uri, find_store, unavailable_store, lambda paths: open_store(paths, "tests")):
        with pytest.raises(RhobetaError, match="names a folder") as refused:
            ask(paths)
    assert "Unset MLFLOW_TRACKING_URI" in str(refused.value)
    (tmp_path / "runs").mkdir()
    command = f"mlflow migrate-filestore --source {tmp_path}/runs --target sqlite:///{tmp_path}/mlruns/mlflow.db"
    with pytest.raises(RhobetaError, match=command):
        store_uri(paths)


@pytest.mark.slow
def test_store_in_a_folder_is_migrated_by_the_command_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    folder = tmp_path / "old runs"
    client = MlflowClient(folder.as_uri())
    run = client.create_run(client.create_experiment("tests")).info.run_id
    client.log_text(run, "kept", "note.txt")
    client.set_terminated(run)
    paths = Paths(tmp_path, tmp_path)
    paths.store.mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", folder.as_uri())
    with pytest.raises(RhobetaError) as refused:
        open_store(paths, "tests")
    found = re.search("`(mlflow [^`]*)`, then unset MLFLOW_TRACKING_URI", str(refused.value))
    assert found is not None
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    subprocess.run([sys.executable, "-m", *shlex.split(found[1])], check=True)
    store = open_store(paths, "tests")
    assert store.client.get_run(run).info.status == "FINISHED"
    assert [file.path for file in store.client.list_artifacts(run)] == ["note.txt"]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("carrierpigeon://coop", "carrierpigeon://coop cannot be used"),
        ("sqlite://", "sqlite:// names no file"),
        ("mysql://me:pw@host/it", "mysql://host/it cannot be used.*\nInstall the driver"),
        ("postgresql://host:port/it", "postgresql://host:port/it cannot be used"),
    ],
)
def test_open_store_of_an_unknown_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, said: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    paths = Paths(tmp_path, tmp_path)
    for ask in (find_store, lambda paths: open_store(paths, "tests")):
        with pytest.raises(RhobetaError, match=said):
            ask(paths)


def test_find_store_that_is_a_folder(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    (paths.store / "mlflow.db").mkdir(parents=True)
    with pytest.raises(RhobetaError, match="it is a folder; expected a file"):
        find_store(paths)


def test_find_store_of_a_newer_mlflow(tmp_path: Path, new_store: NewStore) -> None:
    new_store(Paths(tmp_path, tmp_path), "tests")
    # MLflow checks each database once in a process.
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "mlruns", other / "mlruns")
    paths = Paths(other, other)
    with sqlite3.connect(paths.store / "mlflow.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'fffffff'")
    with pytest.raises(RhobetaError, match=r"another version .*fffffff.*\).*\nClose") as caught:
        find_store(paths)
    assert "upgrade" not in str(caught.value)


def test_find_store_creates_nothing(tmp_path: Path) -> None:
    assert find_store(Paths(tmp_path, tmp_path)) is None
    assert list(tmp_path.iterdir()) == []


def test_database_that_could_not_be_made_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SqlAlchemyStore, "__init__", full)
    with pytest.raises(OSError, match="No space left"):
        prepare_database(tmp_path / "mlflow.db", tmp_path / "artifacts")
    assert not list(tmp_path.iterdir())
