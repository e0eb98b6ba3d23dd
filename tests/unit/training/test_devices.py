"""The place of a process among several, from the variables of what started it."""

import os

import pytest

from helpers.together import slurm_place
from rhobeta.errors import RhobetaError
from rhobeta.training.devices import Place, place_among_processes

SLURM = slurm_place(1, 4, 29500)
TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node0",
    "MASTER_PORT": "29500",
}


@pytest.fixture(autouse=True)
def _no_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("SLURM_", "OMPI_", "PMI_", "JSM_"))]:
        monkeypatch.delenv(name)


def started_with(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> Place | None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return place_among_processes()


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({}, None),
        (TORCHRUN, Place(3, 4, 2, "torchrun")),
        (SLURM, Place(1, 4, 4, "slurm")),
        (SLURM | TORCHRUN, Place(3, 4, 2, "torchrun")),
        ({"SLURM_NTASKS": "1", "SLURM_JOB_ID": "7", "OMPI_COMM_WORLD_SIZE": "1"}, None),
        # Where runtime.nodes starts the processes.
        ({"WORLD_SIZE": "2", "RANK": "1", "NODE_RANK": "1"}, None),
    ],
)
def test_place_is_that_of_torchrun_or_srun(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], place: Place | None
) -> None:
    assert started_with(monkeypatch, variables) == place


def without(name: str) -> dict[str, str]:
    return {key: value for key, value in SLURM.items() if key != name}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SLURM_NTASKS": "4"}, "srun rhobeta train"),
        # As in a batch script.
        (without("SLURM_STEP_ID"), "srun has not started this process"),
        (without("SLURM_NODEID"), "srun has not started this process"),
        (without("SLURM_NTASKS_PER_NODE"), "--ntasks-per-node"),
        (SLURM | {"SLURM_NNODES": "3", "SLURM_NTASKS_PER_NODE": "2"}, "--ntasks-per-node"),
        (SLURM | {"SLURM_NNODES": "0"}, "SLURM_NNODES is '0'"),
        ({"SLURM_NTASKS": "four"}, "SLURM_NTASKS is 'four'"),
        (TORCHRUN | {"RANK": ""}, "RANK is ''"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpirun"),
        ({"PMI_SIZE": "2"}, "mpiexec"),
        ({"JSM_NAMESPACE_SIZE": "2", "LSB_JOBID": "1"}, "jsrun"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, "Kubeflow"),
    ],
)
def test_processes_that_cannot_find_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], told: str
) -> None:
    with pytest.raises(RhobetaError) as caught:
        started_with(monkeypatch, variables)
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
