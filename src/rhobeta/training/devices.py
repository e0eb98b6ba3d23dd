"""What a training runs on: the devices, and how processes that share it find each other."""

import os
from dataclasses import dataclass, replace
from typing import Literal

_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NNODES")


@dataclass(frozen=True)
class Place:
    """Which of several processes this one is, and who started them."""

    rank: int
    world_size: int
    """Processes in all."""
    per_node: int
    """Processes on this machine."""
    starter: Literal["torchrun", "slurm"]


@dataclass(frozen=True)
class Machine:
    """The devices of a training. Nothing here changes its result, but for rounding."""

    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    """Devices, and so processes, on each node; `auto`: all of the accelerator, one for a CPU."""
    nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    """auto: `ddp` where there are several processes; ddp: also for one."""

    def processes_here(self) -> int:
        """How many processes `devices` asks for on this node."""
        return max(1, self.gpus()) if self.devices == "auto" else self.devices

    def gpus(self) -> int:
        """How many CUDA devices there are for this accelerator; 0 where it is another."""
        if self.accelerator not in ("auto", "cuda"):
            return 0
        import torch

        return torch.cuda.device_count()

    def here(self) -> "Machine":
        """This machine as whoever started the processes has laid it out; else as it is."""
        place = place_among_processes()
        if place is None:
            return self
        nodes = place.world_size // place.per_node
        return replace(self, devices=place.per_node, nodes=nodes, strategy="ddp")


def place_among_processes() -> Place | None:
    """This process's place as torchrun or SLURM has told it; None where it stands alone.

    SLURM's word counts where it has started more than one process.
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
