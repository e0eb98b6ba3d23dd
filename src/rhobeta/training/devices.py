"""The devices of a training, and this process's place among several."""

import os
from dataclasses import dataclass
from typing import Literal

from rhobeta.config.sections import RuntimeParams

_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NNODES")


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
    """This process's place, from the variables of torchrun or SLURM; None if it trains alone.

    SLURM counts only if it started more than one task.
    """
    found = os.environ
    if all(name in found for name in _TORCHRUN):
        return Place(
            rank=int(found["RANK"]),
            world_size=int(found["WORLD_SIZE"]),
            per_node=int(found["LOCAL_WORLD_SIZE"]),
            starter="torchrun",
        )
    if all(name in found for name in _SLURM) and int(found["SLURM_NTASKS"]) > 1:
        world_size = int(found["SLURM_NTASKS"])
        return Place(
            rank=int(found["SLURM_PROCID"]),
            world_size=world_size,
            per_node=world_size // int(found["SLURM_NNODES"]),
            starter="slurm",
        )
    return None
