"""A real MLflow server is killed in the middle of real trainings, and comes back."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from helpers import QUICK, StartAfter, write_params
from helpers.injected import wait_until
from helpers.servers import Server, mlflow_server
from rhobeta.cli import main
from rhobeta.paths import Paths
from rhobeta.tracking.pending import pending_runs
from rhobeta.tracking.store import pending_folder
from rhobeta.utils.files import sha256_of_file

EPOCHS = 9
KILLED, BACK = 3, 6
# What differs between any two runs, or says what became of this one.
OWN = ("mlflow.runName", "rhobeta.resumed")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = mlflow_server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Kept for the whole process from the first store on.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    server.start()
    server.wait()
    yield server
    server.kill()


class Pace:
    """Where a training in another process is, and how far it may go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def reached(self, epoch: int) -> None:
        wait_until(lambda: (self.folder / f"at-{epoch}").exists(), seconds=300)

    def go_on(self, epoch: int) -> None:
        (self.folder / f"go-{epoch}").touch()


@contextmanager
def training(paths: Paths, folder: Path) -> Iterator[tuple[Pace, "subprocess.Popen[str]"]]:
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("paced.py"), folder / "sitecustomize.py")
    process = subprocess.Popen(
        [sys.executable, "-m", "rhobeta", "train"],
        cwd=paths.workspace,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
            "RHOBETA_PACE": str(folder),
            "RHOBETA_PAUSES": f"{KILLED},{BACK}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Pace(folder), process
    finally:
        process.kill()
        process.communicate()


def run_ids(server: Server) -> list[str]:
    client = MlflowClient(server.address)
    experiments = [e.experiment_id for e in client.search_experiments()]
    found = client.search_runs(experiments, order_by=["attributes.start_time ASC"])
    return [run.info.run_id for run in found]


def content(server: Server, kept: Path, run_id: str) -> dict[str, Any]:
    """All that the server has of a run and of its model, but what differs between any two."""
    client = MlflowClient(server.address)
    run = client.get_run(run_id)
    experiment = kept / run.info.experiment_id
    (model,) = client.search_logged_models(
        [run.info.experiment_id], filter_string=f"source_run_id = '{run_id}'"
    )
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    folders = [experiment / run_id, experiment / "models" / model.model_id]
    files = {
        str(path.relative_to(folder)): sha256_of_file(path)
        for folder in folders
        for path in folder.rglob("*")
        # It holds the model's id and the time.
        if path.is_file() and path.name != "MLmodel"
    }
    metrics = {
        name: [(m.step, m.value) for m in client.get_metric_history(run_id, name)]
        for name in run.data.metrics
        if not name.startswith("seconds/")
    }
    return {
        "status": (run.info.status, run.info.end_time is not None, str(model.status)),
        "params": run.data.params,
        "tags": {
            k: v
            for k, v in run.data.tags.items()
            if k not in (*OWN, "mlflow.note.content") and "log-model" not in k
        },
        "metrics": metrics,
        "inputs": [str(i.dataset) for i in run.inputs.dataset_inputs],
        "files": files,
    }


@pytest.mark.slow
def test_runs_are_complete_after_server_kills(
    paths: Paths,
    start_after: StartAfter,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start_after("download")
    write_params(paths.workspace, QUICK | {"training.epochs": EPOCHS, "evaluate.tasks": []})
    assert main(["preprocess"]) == 0
    kept = tmp_path / "server" / "artifacts"
    assert main(["train"]) == 0
    assert main(["evaluate"]) == 0
    (first,) = run_ids(server)
    undisturbed, model = content(server, kept, first), paths.model.read_bytes()
    assert [step for step, _ in undisturbed["metrics"]["Curves/train_mse"]] == list(
        range(1, EPOCHS + 1)
    )
    assert any("autoencoder.safetensors" in name for name in undisturbed["files"])

    # Back before the training ends, which completes the run in the middle of it.
    paths.model.unlink()
    with training(paths, tmp_path / "back") as (pace, process):
        pace.reached(KILLED)
        server.kill()
        pace.go_on(KILLED)
        pace.reached(BACK)
        (pending,) = pending_runs(pending_folder(paths))
        assert {step for _, _, _, step in pending.values.metrics} == set(range(KILLED, BACK))
        server.start()
        server.wait()
        pace.go_on(BACK)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("does not answer") == 1
    assert out.count("answers again, and the run is complete") == 1
    assert pending_runs(pending_folder(paths)) == []
    assert paths.model.read_bytes() == model
    second = run_ids(server)[-1]

    # Not back before the training ends, nor while its model is measured.
    paths.model.unlink()
    paths.metrics.unlink()
    with training(paths, tmp_path / "gone") as (pace, process):
        pace.reached(KILLED)
        server.kill()
        for epoch in (KILLED, BACK):
            pace.go_on(epoch)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("does not answer") == 1
    assert "`rhobeta sync` completes it" in out
    assert paths.model.read_bytes() == model
    capsys.readouterr()
    assert main(["evaluate"]) == 0
    assert "belongs to run" in capsys.readouterr().out
    assert paths.metrics.is_file()

    # Without a pending run of the model, its run cannot be known.
    (pending,) = pending_runs(pending_folder(paths))
    hidden = pending.folder.rename(tmp_path / "hidden")
    assert main(["evaluate"]) == 1
    assert "Start the server" in capsys.readouterr().err
    hidden.rename(pending.folder)

    server.start()
    server.wait()
    capsys.readouterr()
    assert main(["sync"]) == 0
    said = capsys.readouterr().out
    assert "completed run" in said
    assert "has its run" in said
    assert pending_runs(pending_folder(paths)) == []
    third = run_ids(server)[-1]
    assert len({first, second, third}) == 3 == len(run_ids(server))
    assert content(server, kept, third) == undisturbed
    trained = content(server, kept, second)
    assert trained["metrics"] == {
        name: curve
        for name, curve in undisturbed["metrics"].items()
        if len(curve) > 1 or name.startswith("best/")
    }
    assert trained["files"].keys() == undisturbed["files"].keys() - {"artifacts/details.json"}
    assert trained["status"] == undisturbed["status"]
