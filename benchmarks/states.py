"""What keeping states costs a training, so that it can go on after a crash.

Training with a state on disk every second, ten times as often as by default, takes turns with
training that keeps none. The state goes through the same file, flushed to disk, as in `train`.
"""

import statistics
import tempfile
import time
from pathlib import Path

from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.paths import Paths
from rhobeta.training.fit import fit
from rhobeta.training.resume import Resumption
from rhobeta.training.unfinished import Unfinished

ROUNDS, EPOCHS, SECONDS, TARGET = 5, 15, 1.0, 1.02


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    manifest = read_manifest(paths.splits)
    train = read_split(paths.splits, "train", manifest)
    validation = read_split(paths.splits, "validation", manifest)
    overlay = {"training.epochs": EPOCHS, "runtime.accelerator": "cpu"}
    params = overlaid(read_yaml(paths.params), overlay, name="benchmark")

    def seconds(resumption: Resumption | None) -> float:
        started = time.perf_counter()
        fit(params, train, validation, checkpoints=resumption)
        return time.perf_counter() - started

    plain, keeping, states = [], [], 0
    with tempfile.TemporaryDirectory(dir=paths.store) as folder:
        unfinished = Unfinished(Path(folder))

        def keep(state: bytes) -> None:
            nonlocal states
            states += 1
            unfinished.keep(state)

        for _ in range(ROUNDS):
            plain.append(seconds(None))
            keeping.append(seconds(Resumption(None, keep, SECONDS)))
    ratio = statistics.median(keeping) / statistics.median(plain)
    return [
        (
            f"training with a state every {SECONDS:g} s / without (median of {ROUNDS} each)",
            f"{ratio:.3f} ({states / ROUNDS:g} states in {statistics.median(keeping):.1f} s)",
            f"at most {TARGET}",
            ratio <= TARGET,
        )
    ]
