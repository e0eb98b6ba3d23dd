"""What checkpoints cost a training.

Training with a checkpoint every second, ten times as often as by default, takes turns with training
that keeps none.
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

ROUNDS, EPOCHS, SECONDS, TARGET = 5, 15, 1.0, 1.02


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    manifest = read_manifest(paths.splits)
    train = read_split(paths.splits, "train", manifest)
    validation = read_split(paths.splits, "validation", manifest)
    overlay = {
        "training.epochs": EPOCHS,
        "runtime.accelerator": "cpu",
        "runtime.checkpoint_seconds": SECONDS,
    }
    params = overlaid(read_yaml(paths.params), overlay, name="benchmark")

    def seconds(checkpoints: Path | None) -> float:
        started = time.perf_counter()
        fit(params, train, validation, checkpoints=checkpoints)
        return time.perf_counter() - started

    plain, keeping = [], []
    with tempfile.TemporaryDirectory(dir=paths.store) as folder:
        for number in range(ROUNDS):
            plain.append(seconds(None))
            keeping.append(seconds(Path(folder) / str(number)))
    ratio = statistics.median(keeping) / statistics.median(plain)
    return [
        (
            f"training with a checkpoint every {SECONDS:g} s / without (median of {ROUNDS} each)",
            f"{ratio:.3f} ({statistics.median(keeping):.1f} s with)",
            f"at most {TARGET}",
            ratio <= TARGET,
        )
    ]
