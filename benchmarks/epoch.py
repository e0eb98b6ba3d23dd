"""A training epoch under Lightning with everything on, against the bare loop, quiet and busy.

Each sample is the time of one epoch after the first of its training, which warms up.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from benchmarks.bare_loop import (
    BATCH_SIZE,
    BETA,
    DECAY,
    RATE,
    RHO,
    bare_epochs,
    products_of_an_epoch,
)
from benchmarks.processes import product_and_plain
from benchmarks.table import Bench, Row, ratio_row, seconds_row
from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid
from rhobeta.data.samples import Samples
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.paths import Paths
from rhobeta.tracking.callback import TrackEpochs
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store
from rhobeta.training.fit import fit
from rhobeta.utils.threads import cores

NARROW, WIDE = 64, 1000
EPOCHS = 3
WIDE_SHARE = 4
"""The wide network is trained on a quarter of the images, to take seconds rather than minutes."""
KERAS_SECONDS = 0.74
"""An epoch of the Keras tutorial's recipe, 784-64-784 with ReLU, on two cores (37 s for 50)."""


def narrow(bench: Bench) -> list[Row]:
    """784-64-784 with all cores' threads, beside the bare loop and its matrix products."""
    with product_and_plain() as (product, plain):
        samples = bench.in_turns(
            {
                "rhobeta": product.measures(_ours, bench.paths),
                "bare loop": plain.measures(_bare, bench.paths),
                "native": plain.measures(_ours, bench.paths),
                "matrix products": plain.measures(_products, bench.paths),
            }
        )
    return [
        *_beside_the_bare_loop(samples, "", portable=0.75, native=0.6),
        seconds_row("its five matrix products alone", samples["matrix products"]),
        Row(
            "an epoch of the Keras tutorial (784-64-784 with ReLU), not measured here",
            f"{KERAS_SECONDS} s",
            KERAS_SECONDS,
            "",
            None,
            {},
        ),
    ]


def one_thread(bench: Bench) -> list[Row]:
    """The same with one thread."""
    with product_and_plain() as (product, plain):
        variants = {
            "rhobeta": product.measures(_ours, bench.paths, threads=1),
            "bare loop": plain.measures(_bare, bench.paths, threads=1),
            "native": plain.measures(_ours, bench.paths, threads=1),
        }
        samples = bench.in_turns(variants)
    return _beside_the_bare_loop(samples, ", one thread", portable=None, native=0.65)


def _beside_the_bare_loop(
    samples: dict[str, list[float]], how: str, *, portable: float | None, native: float | None
) -> list[Row]:
    what, bare = f"epoch, 784-{NARROW}-784{how}", samples["bare loop"]
    ours = {"rhobeta": samples["rhobeta"], "bare loop": bare}
    return [
        ratio_row(f"{what}, rhobeta / bare loop", ours, portable),
        ratio_row(
            f"{what}, `runtime.cpu: native` / bare loop",
            {"native": samples["native"], "bare loop": bare},
            native,
        ),
    ]


def busy(bench: Bench) -> list[Row]:
    """784-64-784 with another process that spins on one of the cores, against a quiet machine."""

    def beside_another(measure: Callable[[], list[float]]) -> list[float]:
        with spinning():
            return measure()

    with product_and_plain() as (product, plain):
        ours = product.measures(_ours, bench.paths)
        samples = bench.in_turns({"busy": partial(beside_another, ours), "quiet": ours})
        # It takes ten seconds an epoch, where ours takes one.
        bare = plain.measures(_bare, bench.paths, epochs=1)
        once = bench.in_turns({"bare loop": partial(beside_another, bare)}, 1)
    return [
        ratio_row(f"epoch, 784-{NARROW}-784, one core busy / quiet", samples, 2.5),
        seconds_row("the bare loop with one core busy", once["bare loop"]),
    ]


def wide(bench: Bench) -> list[Row]:
    """784-1000-784 in bf16 and float32, against the bare loop in float32."""
    of_wide: dict[str, Any] = {"units": WIDE, "share": WIDE_SHARE}
    with product_and_plain() as (product, plain):
        samples = bench.in_turns(
            {
                # bf16 is for CPUs with instructions of their own, which runtime.cpu native uses.
                "bf16": plain.measures(_ours, bench.paths, precision="bf16", **of_wide),
                "bare loop": plain.measures(_bare, bench.paths, **of_wide),
                "float32": product.measures(_ours, bench.paths, **of_wide),
                "products": plain.measures(_products, bench.paths, **of_wide),
                "products in bf16": plain.measures(
                    _products, bench.paths, dtype=torch.bfloat16, **of_wide
                ),
            }
        )
    bare, part = samples["bare loop"], f"a {WIDE_SHARE}th of an epoch, 784-{WIDE}-784"
    bf16 = {"rhobeta": samples["bf16"], "bare loop in float32": bare}
    return [
        ratio_row(f"{part}, bf16 / bare loop in float32", bf16, 0.45),
        ratio_row(
            f"{part}, rhobeta / bare loop", {"rhobeta": samples["float32"], "bare loop": bare}
        ),
        seconds_row("its five matrix products alone", samples["products"]),
        seconds_row("the same in bf16", samples["products in bf16"]),
    ]


@contextmanager
def spinning() -> Iterator[None]:
    """Another process that keeps one of this process's cores busy."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        try:
            if hasattr(os, "sched_setaffinity"):
                os.sched_setaffinity(other.pid, {min(os.sched_getaffinity(0))})
            yield
        finally:
            other.kill()


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


def _ours(
    paths: Paths,
    *,
    units: int = NARROW,
    share: int = 1,
    threads: int | str = "auto",
    precision: str = "float32",
) -> list[float]:
    train, validation = _splits(paths, share)
    clock = _Clock()
    overlay: dict[str, Any] = {
        "model.hidden_sizes": [units],
        "penalty.rho": RHO,
        "penalty.beta": BETA,
        "penalty.target": None,
        "training.epochs": EPOCHS,
        "training.batch_size": BATCH_SIZE,
        "training.learning_rate": RATE,
        "training.weight_decay": DECAY,
        "training.noise": 0.0,
        "training.precision": precision,
        "runtime.accelerator": "cpu",
        "runtime.threads": threads,
    }
    params = overlaid(read_yaml(paths.params), overlay, name="benchmark")
    warnings.filterwarnings("ignore")
    _set_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(Paths(Path(folder), Path(folder)), "benchmark")
        with new_run(store, name="benchmark", tags={}) as run:
            fit(params, train, validation, callbacks=[clock, TrackEpochs(run)], progress=False)
    return clock.seconds[1:]


def _bare(
    paths: Paths,
    *,
    units: int = NARROW,
    share: int = 1,
    threads: int | str = "auto",
    epochs: int = EPOCHS,
) -> list[float]:
    train, validation = (_rows(split) for split in _splits(paths, share))
    _set_threads(threads)
    seconds = bare_epochs(train, validation, units=units, epochs=epochs)
    return seconds[1:] or seconds


def _products(
    paths: Paths, *, units: int = NARROW, share: int = 1, dtype: torch.dtype = torch.float32
) -> list[float]:
    train, _ = _splits(paths, share)
    _set_threads("auto")
    return [products_of_an_epoch(len(train), 784, units, dtype)]


def _set_threads(threads: int | str) -> None:
    torch.set_num_threads(cores() if isinstance(threads, str) else threads)


@cache
def _splits(paths: Paths, share: int) -> tuple[Samples, Samples]:
    manifest = read_manifest(paths.splits)
    train = read_split(paths.splits, "train", manifest)
    validation = read_split(paths.splits, "validation", manifest)
    return _every(train, share), _every(validation, share)


def _every(split: Samples, share: int) -> Samples:
    return split.take(np.arange(0, len(split), share))


def _rows(split: Samples) -> Tensor:
    return torch.from_numpy(split.values.reshape(len(split), -1))
