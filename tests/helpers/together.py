"""Small trainings, each done by one process or by several together.

Run as a program, `together.py FOLDER CASE...` in an environment as torchrun makes it, it is one of
several processes; that of rank 0 writes what came out to FOLDER/CASE.pt.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from helpers import DIGITS
from helpers.fitting import PARAMS, changed, fitted, history_of
from rhobeta.config.params import Params
from rhobeta.data.samples import Samples


@dataclass(frozen=True)
class Case:
    """What is trained, and on how many images."""

    params: Params = PARAMS
    train: int = 210
    validation: int = 70


RELU = {"model__code_activation": "relu"}

_CASES = {
    "kl": Case(),
    # rho times the batch is 1.6, so the penalty is that of a running mean.
    "running mean": Case(changed(penalty__rho=0.05)),
    # 0.2 times the target is less still; with noise, some mini-batches are encoded once more.
    "target, with noise": Case(
        changed(penalty__target=3.0, penalty__target_above=0.3, training__noise=0.3)
    ),
    "tanh": Case(changed(model__code_activation="tanh")),
    "kl_poisson": Case(changed(**RELU, penalty__kind="kl_poisson")),
    "kl_tutorial": Case(changed(**RELU, penalty__kind="kl_tutorial", penalty__rho=0.2)),
    "l1_code": Case(changed(**RELU, penalty__kind="l1_code")),
    "l1_weights": Case(changed(penalty__kind="l1_weights", penalty__beta=0.0001)),
    # 210 = 11 * 19 + 1: a last batch of one image. And fewer validation images than processes.
    "cross-entropy": Case(
        changed(training__pixel_loss="bce", penalty__beta=0.001, training__batch_size=19),
        validation=1,
    ),
    # Two of sixteen units, so that some are inactive for an epoch and get the auxiliary loss.
    "topk": Case(
        changed(
            model__code_activation="topk",
            model__unit_norm_decoder=True,
            penalty__kind="none",
            topk__k=2,
            topk__start=2,
            topk__anneal=0.5,
            topk__auxk_coef=0.5,
        )
    ),
}

CASES = {
    f"{name}, {precision}": replace(
        case, params=changed(case.params, training__precision=precision)
    )
    for name, case in _CASES.items()
    for precision in ("float32", "float64")
}
ENDLESS = "endless"


def outcome(name: str) -> dict[str, Any]:
    """Train a case; weights, history and what else came out."""
    case = CASES[name] if name != ENDLESS else Case(changed(training__epochs=100_000))
    with np.load(DIGITS) as archive:
        digits = Samples(archive["images"], archive["labels"])
    trained = fitted(
        digits.take(np.arange(case.train)),
        digits.take(np.arange(500, 500 + case.validation)),
        case.params,
    )
    return {
        "weights": trained.model.state_dict(),
        "history": history_of(trained),
        "best_epoch": trained.best_epoch,
        "world_size": trained.world_size,
    }


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def place(rank: int, world_size: int, port: int) -> dict[str, str]:
    """What torchrun tells a process on a machine of its own."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def slurm_place(rank: int, world_size: int, port: int) -> dict[str, str]:
    """What srun tells one of several tasks on one node."""
    return {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": str(world_size),
        "SLURM_NTASKS_PER_NODE": str(world_size),
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_NODELIST": "localhost",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


Place = Callable[[int, int, int], dict[str, str]]


def start_ranks(
    names: Sequence[Sequence[str]], folder: Path, where: Place = place
) -> list["subprocess.Popen[str]"]:
    """One process for each element of `names`, which are the cases that it trains in turn."""
    ports = ",".join(map(str, free_ports(len(names[0]))))
    return [
        subprocess.Popen(
            [sys.executable, __file__, str(folder), ports, *cases],
            env=os.environ | where(rank, len(names), 0) | {"PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, cases in enumerate(names)
    ]


def trained_together(names: Sequence[str], world_size: int, folder: Path) -> Mapping[str, Any]:
    """The outcomes of cases, each trained by `world_size` tasks of SLURM, one after the other."""
    for process in start_ranks([names] * world_size, folder, slurm_place):
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in names}


def _main(folder: str, ports: str, *names: str) -> None:
    torch.set_num_threads(1)
    for name, port in zip(names, ports.split(","), strict=True):
        os.environ["MASTER_PORT"] = port
        found = outcome(name)
        if os.environ.get("RANK", os.environ.get("SLURM_PROCID")) == "0":
            torch.save(found, Path(folder) / f"{name}.pt")


if __name__ == "__main__":
    _main(*sys.argv[1:])
