"""`rhobeta train` in several processes: one run, one set of files, and an end in every case."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from helpers import QUICK, StartAfter, write_params
from helpers.together import free_ports
from rhobeta.errors import RhobetaError
from rhobeta.model.serialization import model_from_bytes
from rhobeta.paths import Paths
from rhobeta.training.processes import run_in_processes


@pytest.fixture
def prepared(paths: Paths, start_after: StartAfter) -> Paths:
    """A workspace that is to be trained in."""
    start_after("preprocess")
    return paths


def start(
    workspace: Path, environment: Mapping[str, str], command: Sequence[str] = ("rhobeta", "train")
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        list(command),
        cwd=workspace,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
    )


def finished(processes: Sequence["subprocess.Popen[str]"]) -> list[str]:
    outputs = []
    for process in processes:
        output, errors = process.communicate(timeout=180)
        assert process.returncode == 0, output + errors
        outputs.append(output)
    return outputs


def runs(paths: Paths) -> list[Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{paths.store}/mlflow.db")
    return list(client.search_runs([e.experiment_id for e in client.search_experiments()]))


def require_one_whole_result(paths: Paths, world_size: int) -> None:
    (run,) = runs(paths)
    assert run.info.status == "FINISHED"
    assert run.data.tags["rhobeta.world_size"] == str(world_size)
    saved = model_from_bytes(paths.model.read_bytes(), name="the model")
    assert run.data.tags["rhobeta.model_sha256"] == saved.sha256
    assert [*paths.model.parent.iterdir()] == [paths.model]


@pytest.fixture(scope="module")
def losses_alone(snapshots: Path) -> list[float]:
    """The curve of one process, as `QUICK` trains."""
    return losses(Paths(workspace=snapshots / "train", store_root=snapshots / "train"))


def losses(paths: Paths) -> list[float]:
    lines = paths.history.read_text().splitlines()
    column = lines[0].split(",").index("validation_loss")
    return [float(line.split(",")[column]) for line in lines[1:]]


@pytest.mark.slow
def test_processes_of_torchrun_make_one_result(prepared: Paths, losses_alone: list[float]) -> None:
    write_params(prepared.workspace, QUICK)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    port = free_ports(1)[0]
    command += [f"--master-port={port}", "-m", "rhobeta", "train"]
    (output,) = finished([start(prepared.workspace, {}, command)])
    assert output.count("epoch 1/2") == 1
    require_one_whole_result(prepared, 2)
    assert losses(prepared) == pytest.approx(losses_alone, rel=1e-5)


@pytest.mark.slow
def test_of_two_nodes_only_the_first_writes(
    prepared: Paths, snapshots: Path, tmp_path: Path, losses_alone: list[float]
) -> None:
    """Two workspaces stand for two hosts, of one process each."""
    other = Paths(workspace=tmp_path / "other", store_root=tmp_path / "other")
    shutil.copytree(snapshots / "preprocess", other.workspace)
    before = sorted(other.workspace.rglob("*"))
    port = str(free_ports(1)[0])
    nodes = []
    for rank, paths in enumerate((prepared, other)):
        write_params(paths.workspace, QUICK | {"runtime.nodes": 2})
        environment = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "NODE_RANK": str(rank),
        }
        nodes.append(start(paths.workspace, environment))
    first, second = finished(nodes)
    assert first.count("epoch 1/2") == 1
    assert second == ""
    require_one_whole_result(prepared, 2)
    assert losses(prepared) == pytest.approx(losses_alone, rel=1e-5)
    assert sorted(other.workspace.rglob("*")) == before


def family(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The processes that were started, by their number."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        children = psutil.Process(process.pid).children(recursive=True)
        ranks = [child for child in children if child.environ().get("RANK")]
        if len(ranks) == 2:
            return sorted(ranks, key=lambda rank: rank.environ()["RANK"])
        time.sleep(0.1)
    raise AssertionError(process.communicate(timeout=1))


def training_together(
    paths: Paths, begins: str = "epoch 1/100000"
) -> tuple["subprocess.Popen[str]", list[psutil.Process]]:
    """Two processes in the middle of a training that does not end."""
    write_params(paths.workspace, QUICK | {"training.epochs": 100_000, "runtime.devices": 2})
    process = start(paths.workspace, {})
    ranks = family(process)
    assert process.stdout is not None
    assert begins in process.stdout.readline()
    return process, ranks


def require_all_gone(ranks: Sequence[psutil.Process], seconds: float = 5) -> None:
    _, alive = psutil.wait_procs(ranks, timeout=seconds)
    assert alive == []


@pytest.mark.slow
def test_a_killed_process_ends_all_with_a_message(prepared: Paths) -> None:
    process, ranks = training_together(prepared)
    ranks[1].kill()
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 1
    assert "Process 1 of the training was ended by signal 9 (SIGKILL)" in errors
    assert "Traceback" not in errors
    require_all_gone(ranks)
    assert not prepared.model.exists()
    # The process of rank 0 may be asked to end before it notices the loss.
    (run,) = runs(prepared)
    assert run.info.status in ("FAILED", "KILLED")


@pytest.mark.slow
def test_processes_end_on_a_signal_resume_and_end_with_their_launcher(prepared: Paths) -> None:
    process, ranks = training_together(prepared)
    process.terminate()
    output, errors = process.communicate(timeout=180)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    assert output.count("run it again to resume") == 1
    require_all_gone(ranks)
    assert [run.info.status for run in runs(prepared)] == ["KILLED"]
    process, ranks = training_together(prepared, "resuming after")
    assert [run.info.status for run in runs(prepared)] == ["RUNNING"]
    process.kill()
    process.communicate(timeout=180)
    require_all_gone(ranks, seconds=60)
    assert [run.info.status for run in runs(prepared)] == ["KILLED"]


def test_nodes_without_an_address_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RhobetaError, match="MASTER_ADDR, MASTER_PORT, NODE_RANK is not in"):
        run_in_processes(["train"], 1, 2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    for wrong in ("2", "-1", "first"):
        monkeypatch.setenv("NODE_RANK", wrong)
        with pytest.raises(RhobetaError, match="expected a number from 0 to 1"):
            run_in_processes(["train"], 1, 2)
