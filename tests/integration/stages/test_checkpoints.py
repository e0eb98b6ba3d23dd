"""Trainings that are killed and run again: the real command, the real store."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers import OUTSIDE, QUICK, StartAfter, write_params
from helpers.injected import outputs
from rhobeta.cli import main
from rhobeta.extensions import EXTENSIONS
from rhobeta.paths import Paths
from rhobeta.training.checkpoint_folder import checkpoint_folder, training_digest
from rhobeta.utils.files import sha256_of_file

# 270 mini-batches an epoch: nine chunks, and after each of them a state.
LONG = QUICK | {
    "training.epochs": 8,
    "training.batch_size": 2,
    "runtime.checkpoint_seconds": 0,
}


def test_a_training_is_known_by_parameters_data_and_code(clean_registry: None) -> None:
    parameters = {"penalty.rho": 0.1, "training.seed": 0}
    first = training_digest(parameters, "data")
    assert training_digest(dict(reversed(parameters.items())), "data") == first
    others = [
        training_digest(parameters | {"penalty.rho": 0.2}, "data"),
        training_digest(parameters, "other data"),
    ]
    for source in (b"x = 1", b"x = 2"):
        EXTENSIONS["mine.py"] = source
        others.append(training_digest(parameters, "data"))
    assert len({first, *others}) == 5


def test_the_same_training_twice_at_once_keeps_one_checkpoint(
    paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    with checkpoint_folder(paths, {}, "data") as first:
        first.note_run("mine")
        with checkpoint_folder(paths, {}, "data") as second:
            assert second.run_id is None
            second.note_run("another")
        assert "another process runs the same training" in capsys.readouterr().out
        assert first.run_id == "mine"
        first.remove()
    assert list(paths.checkpoints.iterdir()) == []


def start_training(workspace: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        ["rhobeta", "train"],
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def train_to_the_end(workspace: Path) -> str:
    """Run the real command; returns what it printed."""
    process = start_training(workspace)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def first_step(process: "subprocess.Popen[str]") -> str:
    """Wait until the process has trained for a while, or resumed; the line that says so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(("epoch", "resuming after")):
            return line
    raise AssertionError(process.communicate()[1])


def results(paths: Paths) -> tuple[str, str]:
    return sha256_of_file(paths.model), paths.history.read_text()


def only_run(paths: Paths) -> tuple[Any, Mapping[str, list[int]]]:
    """The one run of the store, and the steps of each of its metrics of epochs."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{paths.store}/mlflow.db")
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    steps = {
        name: [entry.step for entry in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
        if name.startswith("Curves/")
    }
    return run, steps


def require_one_continuous_run(paths: Paths, epochs: int) -> None:
    run, steps = only_run(paths)
    assert run.info.status == "FINISHED"
    assert "rhobeta.error" not in run.data.tags
    assert run.data.tags["rhobeta.model_sha256"] == sha256_of_file(paths.model)
    assert {name: found for name, found in steps.items() if found != [*range(1, epochs + 1)]} == {}
    assert "Curves/validation_gini" in steps


@pytest.fixture(scope="module")
def uninterrupted(snapshots: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The result of a training that nothing interrupts."""
    root = tmp_path_factory.mktemp("whole")
    shutil.copytree(snapshots / "preprocess", root, dirs_exist_ok=True)
    write_params(root, LONG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for name in OUTSIDE:
            patch.delenv(name, raising=False)
        assert main(["train"]) == 0
    found = Paths(workspace=root, store_root=root)
    assert list(found.checkpoints.iterdir()) == []
    return results(found)


@pytest.fixture
def prepared(paths: Paths, start_after: StartAfter) -> Paths:
    """A workspace that is to be trained in."""
    start_after("preprocess")
    write_params(paths.workspace, LONG)
    return paths


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_bytes(
    prepared: Paths, uninterrupted: tuple[str, str]
) -> None:
    process = start_training(prepared.workspace)
    first_step(process)
    time.sleep(0.3)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not prepared.model.exists()
    assert "resuming after" in train_to_the_end(prepared.workspace)
    assert results(prepared) == uninterrupted
    require_one_continuous_run(prepared, LONG["training.epochs"])
    assert list(prepared.checkpoints.iterdir()) == []


@pytest.mark.slow
def test_a_signal_keeps_a_checkpoint_that_resumes(
    prepared: Paths, uninterrupted: tuple[str, str]
) -> None:
    write_params(prepared.workspace, LONG | {"runtime.checkpoint_seconds": 3600})
    before = outputs(prepared)
    process = start_training(prepared.workspace)
    first_step(process)
    process.terminate()
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 143, errors
    assert errors.strip() == "rhobeta train: ended by SIGTERM."
    assert "run it again to resume" in output
    assert outputs(prepared) == before
    run, _ = only_run(prepared)
    assert run.info.status == "KILLED"
    assert "resuming after" in train_to_the_end(prepared.workspace)
    assert results(prepared) == uninterrupted
    require_one_continuous_run(prepared, LONG["training.epochs"])
    assert only_run(prepared)[0].data.tags["rhobeta.resumed"] == "true"


@pytest.mark.slow
def test_a_diverged_training_leaves_no_checkpoint(
    prepared: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"model.code_activation": "relu", "penalty.kind": "kl_tutorial"}
    write_params(prepared.workspace, LONG | changes)
    assert main(["train"]) == 1
    assert "diverged" in capsys.readouterr().err
    assert list(prepared.checkpoints.iterdir()) == []
