"""A small training on the fixture's digits, as tests of it share it."""

import csv
import io
from typing import Any

import pytorch_lightning as pl
import torch

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.data.samples import Samples
from rhobeta.training.closed_form import Measured
from rhobeta.training.fit import Trained, fit
from rhobeta.training.module import steps_of

SEED = 5

# rho times the batch is 12.8: the penalty is that of each batch alone. 210 images: six batches of
# 32 and a last one of 18.
PARAMS = check_params(
    with_changes(
        {
            "model.hidden_sizes": [16],
            "model.output_activation": "sigmoid",
            "penalty.rho": 0.4,
            "penalty.beta": 0.01,
            "training.epochs": 3,
            "training.batch_size": 32,
            "training.weight_decay": 0.003,
            "training.seed": SEED,
            "runtime.accelerator": "cpu",
        }
    ),
    where="the tests' parameters",
)


def changed(params: Params = PARAMS, /, **changes: Any) -> Params:
    """`params` with some changed, unchecked: `penalty__rho=0.1` for `penalty.rho`."""
    for path, value in changes.items():
        section, _, name = path.partition("__")
        part = getattr(params, section).model_copy(update={name: value})
        params = params.model_copy(update={section: part})
    return params


def fitted(
    train: Samples,
    validation: Samples,
    params: Params = PARAMS,
    callbacks: tuple[pl.Callback, ...] = (),
    **changes: Any,
) -> Trained:
    return fit(changed(params, **changes), train, validation, callbacks=callbacks)


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
        steps = steps_of(pl_module)
        gradient = steps._closed_form

        def noted(
            x: torch.Tensor, given: torch.Tensor, **settings: Any
        ) -> tuple[Measured, torch.Tensor]:
            self.images.append(given.clone())
            self.k.append(settings["k"])
            return gradient(x, given, **settings)

        noted.gradient = gradient.gradient
        steps._closed_form = noted
