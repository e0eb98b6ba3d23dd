"""One epoch on rows in a mapped file against the same rows in memory: time and peak memory.

`python -m benchmarks mapped` trains a 768-1024-768 code on 1,000,000 x 768 float16 rows, 1.5 GB in
a temporary folder, for one epoch; `python -m benchmarks.mapped --rows N --rounds M` on fewer. Each
training is a process of its own, whose peak memory the operating system tells; the time is that of
the epoch.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytorch_lightning as pl

from benchmarks.table import Bench, Row, ratio_row
from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid
from rhobeta.data.samples import Samples
from rhobeta.paths import find_paths
from rhobeta.training.fit import fit
from rhobeta.utils.cpu import fix_instructions

ROWS, FEATURES, UNITS = 1_000_000, 768, 1024
VALIDATION_ROWS = 8192
VARIANTS = {"mapped": 0, "in memory": 1 << 20}
"""runtime.data_memory of each, in MiB."""


def rows(bench: Bench) -> list[Row]:
    """The time of an epoch and the peak memory, mapped and in memory."""
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), ROWS)
        return _table(bench, Path(folder), ROWS)


def write_rows(folder: Path, count: int) -> None:
    """Random vectors of 64 hidden causes, of mean 1, piece by piece."""
    draw = np.random.default_rng(0)
    causes = draw.standard_normal((64, FEATURES), np.float32) / 8
    for name, size in (("train", count), ("validation", VALIDATION_ROWS)):
        found = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.float16, (size, FEATURES)
        )
        for first in range(0, size, 10_000):
            part = found[first : first + 10_000]
            part[:] = draw.standard_normal((len(part), 64), np.float32) @ causes + 1
        found.flush()


class _Clock(pl.Callback):
    """From the start of the epoch to the end of its validation."""

    seconds = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds = time.perf_counter() - self.seconds


def train(folder: Path, memory: int) -> tuple[float, float, float]:
    """Train one epoch here: its seconds, and this process's peak GB before and after."""
    train, validation = (
        Samples(np.load(folder / f"{name}.npy", mmap_mode="r"), None)
        for name in ("train", "validation")
    )
    overlay = {
        "model.hidden_sizes": [UNITS],
        "penalty.rho": 0.03183,
        "penalty.beta": 0.002745,
        "penalty.target": None,
        "training.epochs": 1,
        "training.learning_rate": 0.001,
        "training.noise": 0.0,
        "runtime.accelerator": "cpu",
        "runtime.data_memory": memory,
    }
    params = overlaid(read_yaml(find_paths().params), overlay, name="benchmark")
    before, clock = _peak(), _Clock()
    fit(params, train, validation, callbacks=[clock], progress=False)
    return clock.seconds, before, _peak()


def _peak() -> float:
    # Not ru_maxrss, which starts from the peak of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e9


def _table(bench: Bench, folder: Path, count: int) -> list[Row]:
    peaks: dict[str, tuple[float, float]] = {}

    def measured(name: str) -> list[float]:
        command = [sys.executable, "-m", "benchmarks.mapped", "--train", str(folder)]
        command += ["--memory", str(VARIANTS[name])]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, before, after = json.loads(done.stdout.splitlines()[-1])
        peaks[name] = before, max(after, peaks.get(name, (0.0, 0.0))[1])
        return [seconds]

    samples = bench.in_turns({name: partial(measured, name) for name in VARIANTS}, 3)
    what = f"{count:,} x {FEATURES} float16, {FEATURES}-{UNITS}-{FEATURES}"
    # 80 % of the speed.
    found = [ratio_row(f"epoch of {what}: mapped / in memory", samples, 1.25)]
    for name, (before, peak) in peaks.items():
        limit = 1.5 if name == "mapped" else None
        found.append(
            Row(
                f"peak memory, {name}",
                f"{peak:.2f} GB ({before:.2f} GB before the training)",
                peak,
                "" if limit is None else f"at most {limit} GB",
                None if limit is None else peak <= limit,
                {},
            )
        )
    return found


def main() -> None:
    """Print the table for `--rows`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help=f"training rows ({ROWS:,})")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (3)")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--memory", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        print(json.dumps(train(options.train, options.memory)))
        return
    from benchmarks.table import machine, text

    # Each training is a process, whose imports take seconds.
    expected = options.rounds * len(VARIANTS) * (10 + 1.5e-4 * options.rows)
    bench = Bench(find_paths(), options.rounds, seconds=expected)
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), options.rows)
        with bench.benchmark("mapped", expected):
            found = _table(bench, Path(folder), options.rows)
    bench.close()
    print(text(machine(), found))


if __name__ == "__main__":
    fix_instructions()
    main()
