"""The Lightning Trainer of a training."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from rhobeta.errors import RhobetaError
from rhobeta.training.callbacks import Progress
from rhobeta.training.devices import Machine, place_among_processes
from rhobeta.training.resume import StateAsBytes

ANSWER_SECONDS = 30
"""How long a process waits for the others before it takes them for dead."""

_PRECISIONS: dict[str, Any] = {
    "float32": "32-true",
    "float64": "64-true",
    "bf16": "bf16-mixed",
    "fp16": "16-mixed",
}


def make_trainer(
    machine: Machine,
    epochs: int,
    callbacks: Sequence[pl.Callback],
    *,
    precision: str = "float32",
    state: StateAsBytes | None = None,
    progress: bool = True,
) -> pl.Trainer:
    """A Trainer that keeps no files of its own and shows only our own progress.

    Where torchrun or SLURM has started this process among others, their word on devices and nodes
    counts, not that of `machine`.
    """
    # Which devices exist and are used is in the run's tags; advice on loaders does not apply.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    machine = machine.here()
    _require_available(machine, precision)
    plugins: list[Any] = [_environment(), *([state] if state is not None else [])]
    return pl.Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy=_strategy(machine),
        precision=_PRECISIONS[precision],
        plugins=plugins,
        max_epochs=epochs,
        callbacks=[*([Progress()] if progress else []), *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _require_available(machine: Machine, precision: str) -> None:
    cuda, asked = machine.gpus(), machine.accelerator
    if asked == "cuda" and not cuda:
        raise RhobetaError(
            "runtime.accelerator is cuda, but torch finds no CUDA device here.\nSet it to auto or"
            " cpu, or see to the driver (nvidia-smi) and to a torch that is built for it."
        )
    if asked == "mps" and not torch.backends.mps.is_available():
        raise RhobetaError(
            "runtime.accelerator is mps, but this is no Apple GPU.\nSet it to auto or cpu."
        )
    if cuda and machine.devices != "auto" and machine.devices > cuda:
        raise RhobetaError(
            f"runtime.devices is {machine.devices}, but this machine has {cuda} CUDA"
            f" device{'s' if cuda > 1 else ''}.\nLower it, or set runtime.accelerator to cpu."
        )
    if precision == "fp16" and not cuda:
        raise RhobetaError(
            "training.precision is fp16, which needs a CUDA device, and none is used here.\n"
            "Set it to float32 or bf16."
        )


def _strategy(machine: Machine) -> DDPStrategy | Literal["auto"]:
    if machine.strategy == "auto" and machine.devices == machine.nodes == 1:
        return "auto"
    return DDPStrategy(timeout=timedelta(seconds=ANSWER_SECONDS))


def _environment() -> LightningEnvironment | SLURMEnvironment | TorchElasticEnvironment:
    place = place_among_processes()
    if place is None:
        return LightningEnvironment()
    if place.starter == "torchrun":
        return TorchElasticEnvironment()
    # A requeued job goes on by itself: the state is kept on SIGTERM.
    return SLURMEnvironment(auto_requeue=False)


def device_name(device: torch.device) -> str:
    """The name of a GPU; of other devices their type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
