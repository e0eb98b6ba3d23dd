"""The Lightning Trainer of a training."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from rhobeta.config.sections import FitParams
from rhobeta.errors import RhobetaError
from rhobeta.training.callbacks import Progress
from rhobeta.training.checkpoints import CheckpointFile
from rhobeta.training.devices import Place, gpus, place_among_processes

ANSWER_SECONDS = 30
"""How long a process waits for the others before it gives up on them."""


_PRECISIONS: dict[str, Any] = {"float64": "64-true"}


def make_trainer(
    params: FitParams,
    callbacks: Sequence[pl.Callback],
    *,
    checkpoint_file: CheckpointFile | None = None,
    progress: bool = True,
) -> pl.Trainer:
    """A Trainer that writes no files but `checkpoint_file`, and shows only our own progress.

    It trains in this process: alone, or as one of those that torchrun or SLURM has started.
    """
    # Which devices exist and are used is in the run's tags; advice on loaders does not apply.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    place = place_among_processes()
    devices = 1 if place is None else place.per_node
    _require_devices(params, devices)
    several = place is not None or params.runtime.strategy == "ddp"
    plugins: list[Any] = [
        _environment(place),
        *([checkpoint_file] if checkpoint_file is not None else []),
    ]
    return pl.Trainer(
        accelerator=params.runtime.accelerator,
        devices=devices,
        num_nodes=1 if place is None else place.world_size // place.per_node,
        strategy=DDPStrategy(timeout=timedelta(seconds=ANSWER_SECONDS)) if several else "auto",
        # Half precision is a matter of the step's products: everything else is in the weights'.
        precision=_PRECISIONS.get(params.training.precision, "32-true"),
        plugins=plugins,
        max_epochs=params.training.epochs,
        callbacks=[*([Progress()] if progress else []), *callbacks],
        logger=False,
        enable_checkpointing=checkpoint_file is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        # Each epoch has a loader of its own, with its permutation.
        reload_dataloaders_every_n_epochs=1,
    )


def _require_devices(params: FitParams, devices: int) -> None:
    asked = params.runtime.accelerator
    cuda = gpus(asked)
    if asked == "cuda" and not cuda:
        raise RhobetaError(
            "runtime.accelerator is cuda, but torch finds no CUDA device here.\nSet it to auto or"
            " cpu, or check the driver (nvidia-smi) and that torch is built for it."
        )
    if asked == "mps" and not torch.backends.mps.is_available():
        raise RhobetaError(
            "runtime.accelerator is mps, but this is no Apple GPU.\nSet it to auto or cpu."
        )
    if cuda and devices > cuda:
        raise RhobetaError(
            f"{devices} processes train on this machine (runtime.devices), but it has {cuda} CUDA"
            f" device{'s' if cuda > 1 else ''}.\nLower it, or set runtime.accelerator to cpu."
        )
    if params.training.precision == "fp16" and not cuda:
        raise RhobetaError(
            "training.precision is fp16, which needs a CUDA device, and none is used here.\n"
            "Set it to float32 or bf16."
        )


def _environment(
    place: Place | None,
) -> LightningEnvironment | SLURMEnvironment | TorchElasticEnvironment:
    if place is None:
        return LightningEnvironment()
    if place.starter == "torchrun":
        return TorchElasticEnvironment()
    # A requeued job resumes by itself: a checkpoint is kept on SIGTERM.
    return SLURMEnvironment(auto_requeue=False)


def device_name(device: torch.device) -> str:
    """The name of a GPU; of other devices their type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
