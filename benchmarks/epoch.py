"""One training epoch under Lightning, with everything on, against a bare PyTorch loop.

The bare loop does the same arithmetic: the same mini-batches gathered from the same bytes, the same
network and KL from logits, Adam, and one pass over the validation split for loss and error. It
has no Trainer, no statistics, no history, no MLflow. The two take turns; each epoch's time is one
sample.
"""

import math
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, mse_loss

from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid
from rhobeta.data.samples import Samples
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.paths import Paths
from rhobeta.tracking.callback import TrackEpochs
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store
from rhobeta.training.fit import fit

UNITS, BATCH_SIZE, RHO, BETA, RATE, DECAY = 64, 256, 0.05, 0.00765, 0.01, 2e-7
ROUNDS, EPOCHS = 7, 3


@dataclass
class Times:
    """Seconds of single epochs."""

    bare: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Median of ours over median of the bare loop's."""
        return statistics.median(self.ours) / statistics.median(self.bare)


class _Clock(pl.Callback):
    """From the start of an epoch to its very end, the tracking callback included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        now = time.perf_counter()
        if self._started:
            self.seconds.append(now - self._started)
        self._started = now

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def measure(paths: Paths) -> Times:
    """Time both, in turn, on the project's processed data."""
    manifest = read_manifest(paths.splits)
    train = read_split(paths.splits, "train", manifest)
    validation = read_split(paths.splits, "validation", manifest)
    times = Times()
    for _ in range(ROUNDS):
        # The first epoch of each warms up allocator and caches.
        times.bare += _bare(train, validation)[1:]
        times.ours += _ours(paths, train, validation)[1:]
    return times


def _ours(paths: Paths, train: Samples, validation: Samples) -> list[float]:
    clock = _Clock()
    overlay = {
        "model.hidden_sizes": [UNITS],
        "penalty.rho": RHO,
        "penalty.beta": BETA,
        "training.epochs": EPOCHS,
        "training.batch_size": BATCH_SIZE,
        "training.learning_rate": RATE,
        "training.weight_decay": DECAY,
        "runtime.accelerator": "cpu",
    }
    params = overlaid(read_yaml(paths.params), overlay, name="benchmark")
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Paths(Path(folder), Path(folder)), "benchmark")
        with new_run(store, name="benchmark", tags={}) as run:
            fit(params, train, validation, callbacks=[clock, TrackEpochs(run)])
    return clock.seconds


def _bare(train: Samples, validation: Samples) -> list[float]:
    images = torch.from_numpy(train.values.reshape(len(train.values), -1))
    held_out = torch.from_numpy(validation.values.reshape(len(validation.values), -1))
    encoder, decoder = nn.Linear(784, UNITS), nn.Linear(UNITS, 784)
    groups = [
        {"params": [encoder.weight, decoder.weight], "weight_decay": DECAY},
        {"params": [encoder.bias, decoder.bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.Adam(groups, lr=RATE, fused=True)

    def loss_of(pixels: Tensor) -> tuple[Tensor, Tensor]:
        x = pixels.float().div_(255)
        z = encoder(x)
        mse = mse_loss(torch.sigmoid(decoder(torch.sigmoid(z))), x)
        size = math.log(len(x))
        log_q = torch.logsumexp(logsigmoid(z), 0) - size
        log_not_q = torch.logsumexp(logsigmoid(-z), 0) - size
        kl = RHO * (math.log(RHO) - log_q) + (1 - RHO) * (math.log(1 - RHO) - log_not_q)
        return mse + BETA * kl.sum(), mse

    seconds = []
    for _ in range(EPOCHS):
        started = time.perf_counter()
        for chosen in torch.split(torch.randperm(len(images)), BATCH_SIZE):
            loss, _ = loss_of(images[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            loss_of(held_out)
        seconds.append(time.perf_counter() - started)
    return seconds


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    times = measure(paths)
    bare, ours = statistics.median(times.bare), statistics.median(times.ours)
    spread: Any = f"{min(times.ours):.2f} to {max(times.ours):.2f}"
    return [
        (
            f"epoch under the Trainer / bare loop (median of {len(times.ours)} each)",
            f"{times.ratio:.2f} ({ours:.2f} s, {spread}; bare {bare:.2f} s)",
            "at most 1.25",
            times.ratio <= 1.25,
        )
    ]
