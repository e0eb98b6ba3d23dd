"""The devices of a training, and this process's place among several."""

import os
from dataclasses import dataclass
from typing import Literal

from rhobeta.config.sections import RuntimeParams
from rhobeta.errors import RhobetaError

_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# Those of the tasks that srun starts; a batch script has some of them.
_SRUN = ("SLURM_STEP_ID", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_NNODES")
# How many processes other programs have started.
_OTHERS = {
    "JSM_NAMESPACE_SIZE": "jsrun (LSF)",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
    "WORLD_SIZE": "Kubeflow or another program",
}


@dataclass(frozen=True)
class Place:
    """Which of several processes this one is, and what started them."""

    rank: int
    world_size: int
    """Processes in all."""
    per_node: int
    """Processes on this machine."""
    starter: Literal["torchrun", "slurm"]


def gpus(accelerator: str) -> int:
    """The number of CUDA devices that `accelerator` can use: 0 for "cpu" and "mps"."""
    if accelerator not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count()


def processes_per_node(runtime: RuntimeParams) -> int:
    """The number of processes that `runtime.devices` asks for on each node; "auto": one per GPU."""
    return max(1, gpus(runtime.accelerator)) if runtime.devices == "auto" else runtime.devices


def place_among_processes() -> Place | None:
    """This process's place, from the variables of torchrun or `srun`; None if it trains alone.

    Raises `RhobetaError` where it is one of several that could not find each other: tasks of SLURM
    without `srun`, or processes that another program started.
    """
    if all(name in os.environ for name in _TORCHRUN):
        return Place(
            rank=_number("RANK"),
            world_size=_number("WORLD_SIZE", 1),
            per_node=_number("LOCAL_WORLD_SIZE", 1),
            starter="torchrun",
        )
    tasks = _number("SLURM_NTASKS")
    if tasks > 1:
        return _slurm_place(tasks)
    for name, starter in _OTHERS.items():
        if _number(name) > 1 and "NODE_RANK" not in os.environ:
            raise RhobetaError(
                f"{name} is {os.environ[name]}: {starter} started this as one of several processes,"
                " but a training knows those of torchrun or srun only (docs/scaling.md).\nStart it"
                f" by one of them, or unset {name} to train in this process alone."
            )
    return None


def _slurm_place(tasks: int) -> Place:
    missing = [name for name in _SRUN if name not in os.environ]
    if missing:
        raise RhobetaError(
            f"SLURM_NTASKS is {tasks}, but srun has not started this process ({missing[0]} is not"
            " set).\nStart it by `srun rhobeta train`, or ask for one task by --ntasks-per-node=1"
            " (docs/scaling.md)."
        )
    nodes = _number("SLURM_NNODES", 1)
    if _number("SLURM_NTASKS_PER_NODE") * nodes != tasks:
        raise RhobetaError(
            f"SLURM has started {tasks} tasks on {nodes} nodes, and SLURM_NTASKS_PER_NODE is"
            f" {os.environ.get('SLURM_NTASKS_PER_NODE', 'not set')}.\nAsk for tasks by"
            " --ntasks-per-node, the same number on each node, not by --ntasks."
        )
    return Place(
        rank=_number("SLURM_PROCID"), world_size=tasks, per_node=tasks // nodes, starter="slurm"
    )


def _number(name: str, least: int = 0) -> int:
    """The value of a variable; 0 where it is not set."""
    text = os.environ.get(name, "0")
    if not text.isdecimal() or int(text) < least:
        raise RhobetaError(f"{name} is {text!r} in the environment; expected a number.")
    return int(text)
