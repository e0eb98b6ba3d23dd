"""A small training on the fixture's digits, as tests of it share it."""

import csv
import io
from typing import Any

import pytorch_lightning as pl
import torch

from rhobeta.data.labelled import LabelledImages
from rhobeta.model.autoencoder import Architecture
from rhobeta.model.loss import SparseLoss
from rhobeta.training.devices import Machine
from rhobeta.training.fit import Trained, fit
from rhobeta.training.resume import Resumption
from rhobeta.training.settings import Optimization

CPU = Machine(accelerator="cpu")

ARCHITECTURE = Architecture((28, 28), (16,), "sigmoid", "relu", "sigmoid")
# rho times the batch is 12.8: the penalty is that of each batch alone.
OBJECTIVE = SparseLoss("kl", "sigmoid", rho=0.4, beta=0.01)
# 210 images: six batches of 32 and a last one of 18.
OPTIMIZATION = Optimization(3, 32, learning_rate=0.01, schedule="cosine", weight_decay=0.003)
SEED = 5


def fitted(
    train: LabelledImages,
    validation: LabelledImages,
    *,
    architecture: Architecture = ARCHITECTURE,
    objective: SparseLoss = OBJECTIVE,
    optimization: Optimization = OPTIMIZATION,
    callbacks: tuple[pl.Callback, ...] = (),
    seed: int = SEED,
    machine: Machine = CPU,
    resumption: Resumption | None = None,
) -> Trained:
    return fit(
        architecture,
        objective,
        optimization,
        train,
        validation,
        seed=seed,
        machine=machine,
        callbacks=callbacks,
        resumption=resumption,
    )


def history_of(trained: Trained) -> dict[str, list[float]]:
    """The columns that hold numbers; those of validation are empty where there was none."""
    rows = list(csv.DictReader(io.StringIO(trained.history_csv)))
    return {name: [float(row[name]) for row in rows] for name, value in rows[0].items() if value}


class Disturb(pl.Callback):
    """Overwrites every weight when an epoch (from 1) starts."""

    def __init__(self, epoch: int, value: float) -> None:
        self.epoch, self.value = epoch, value

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.epoch:
            with torch.no_grad():
                for parameter in pl_module.parameters():
                    parameter.fill_(self.value)


class Inputs(pl.Callback):
    """Notes what the network is given in training: images, and k."""

    def __init__(self) -> None:
        self.images: list[torch.Tensor] = []
        self.k: list[int | None] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        pl_module.autoencoder.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        if torch.is_grad_enabled():
            self.images.append(args[0].clone())
            self.k.append(kwargs.get("k"))
