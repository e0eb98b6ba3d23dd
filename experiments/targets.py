"""One training with a target, beside a search for rho and beta at the same activity.

    python -m experiments.targets mnist --units 64 --target 0.05

Both sides train as the preset small-64, but on the first 20,000 training images and for 12 epochs
(948 steps), and are measured on the last 6,000: mean activation and MSE of the kept weights.

Three trainings, of three seeds, have the target and beta `auto`. The search has at most 30
trainings of the first seed, without a target. For each of five rhos, shares of the target, it looks
for the beta whose code has that mean activation, by the secant method in log beta and log activity,
with at most six trainings. Its result is the least MSE of the trainings within 2 % of the target.
So the search is an exact one along the line of that activity; one over both parameters at random
would spend most trainings elsewhere. It begins at the beta that the target's own training found.
"""

import argparse
import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.outcome import DATA_SETS, SEEDS, TARGETS, WIDTHS, is_at_target, target_name
from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.data.datasets import DATA_SETS as FILES
from rhobeta.data.downloads import fetch_all
from rhobeta.data.raw import describe_raw, read_raw
from rhobeta.data.samples import Samples
from rhobeta.paths import find_paths
from rhobeta.training.fit import Trained, fit
from rhobeta.utils.files import atomic_folder, write_json
from rhobeta.utils.threads import one_thread

TRAINED, MEASURED = 20_000, 6_000
SHARES = (0.2, 0.05, 0.4, 0.6, 0.8)
"""What rho is of the target, beginning with that of a training with a target."""

TRAININGS = 6
"""Most trainings for one rho."""

SLOPE = -0.7
"""Log activity by log beta, before two trainings tell."""

LARGEST_STEP = math.log(8)
"""Of log beta."""

FIXED: dict[str, Any] = {
    "training.epochs": 12,
    "runtime.accelerator": "cpu",
    "runtime.threads": 1,
}
"""What differs from the preset small-64, besides what is compared."""


@dataclass(frozen=True)
class Row:
    """One training and its code on the measured images."""

    seed: int
    rho: float | None
    """None: the training had the target."""
    beta: float
    activity: float
    mse: float


class Experiment:
    """The trainings of one data set, width and target."""

    def __init__(self, data_set: str, units: int, target: float) -> None:
        self._paths = find_paths()
        self._train, self._measured = images(data_set)
        self._units, self._target = units, target

    def with_target(self, seed: int) -> tuple[Row, list[dict[str, float]]]:
        """Train with the target; also the activity and beta of every epoch."""
        changes = {"penalty.rho": None, "penalty.target": self._target, "penalty.beta": "auto"}
        trained = self._trained(seed, changes)
        epochs = [
            {
                "activity": float(epoch["validation_rho_hat_mean"]),
                "mse": float(epoch["validation_mse"]),
                "beta": float(epoch["beta"]),
            }
            for epoch in csv.DictReader(io.StringIO(trained.history_csv))
        ]
        return _row(trained, seed, None, trained.best_metrics["beta"]), epochs

    def search(self, beta: float) -> Iterator[Row]:
        """Trainings that look for the least MSE at the target's activity, beginning at `beta`."""
        for share in SHARES:
            logs: list[tuple[float, float]] = []
            for _ in range(TRAININGS):
                rho = share * self._target
                changes = {"penalty.rho": rho, "penalty.beta": beta}
                row = _row(self._trained(SEEDS[0], changes), SEEDS[0], rho, beta)
                yield row
                if is_at_target(row.activity, self._target):
                    break
                logs.append((math.log(beta), math.log(row.activity / self._target)))
                beta = math.exp(next_guess(logs))

    def _trained(self, seed: int, changes: dict[str, Any]) -> Trained:
        overlay = read_preset(self._paths.presets, "small-64") | FIXED | changes
        overlay |= {"model.hidden_sizes": [self._units], "training.seed": seed}
        params = overlaid(read_yaml(self._paths.params), overlay, name="targets")
        return fit(params, self._train, self._measured, progress=False)


def _row(trained: Trained, seed: int, rho: float | None, beta: float) -> Row:
    metrics = trained.best_metrics
    return Row(seed, rho, beta, metrics["validation/rho_hat_mean"], metrics["validation/mse"])


def next_guess(found: list[tuple[float, float]]) -> float:
    """The log beta at which the log of activity / target should be 0, from pairs of both.

    The line through the last two pairs, where it falls; at most a factor of 8 away.

    >>> next_guess([(0.0, 1.0), (1.0, 0.5)])
    2.0
    """
    slope = SLOPE
    if len(found) > 1:
        (before, of_before), (last, of_last) = found[-2:]
        between = (of_last - of_before) / (last - before)
        slope = between if between < SLOPE / 10 else SLOPE
    log_beta, excess = found[-1]
    return log_beta + min(max(-excess / slope, -LARGEST_STEP), LARGEST_STEP)


def images(data_set: str) -> tuple[Samples, Samples]:
    """The images to train and to measure on."""
    paths = find_paths()
    folder = paths.raw_data
    if data_set != "mnist":
        folder = paths.workspace / "experiments" / "work" / "raw" / data_set
        if not folder.exists():
            with atomic_folder(folder) as partial:
                fetch_all(FILES[data_set], partial)
                describe_raw(partial, name=data_set)
    train = read_raw(folder).train
    count = len(train)
    return train.take(np.arange(TRAINED)), train.take(np.arange(count - MEASURED, count))


def measure(data_set: str, units: int, target: float) -> dict[str, Any]:
    """Both sides of the comparison."""
    experiment = Experiment(data_set, units, target)
    found = [experiment.with_target(seed) for seed in SEEDS]
    rows, (epochs, *_) = zip(*found, strict=True)
    return {
        "target": target,
        "with_target": [asdict(row) for row in rows],
        "epochs": epochs,
        "search": [asdict(row) for row in experiment.search(rows[0].beta)],
    }


@one_thread()
def main() -> None:
    """Measure and write experiments/outcomes/target-DATASET-UNITS-TARGET.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data_set", choices=DATA_SETS)
    parser.add_argument("--units", type=int, choices=WIDTHS, required=True)
    parser.add_argument("--target", type=float, choices=TARGETS, required=True)
    options = parser.parse_args()
    outcome = measure(options.data_set, options.units, options.target)
    name = target_name(options.data_set, options.units, options.target)
    folder: Path = find_paths().workspace / "experiments" / "outcomes"
    write_json(folder / f"{name}.json", outcome)
    print(json.dumps(outcome["with_target"]))


if __name__ == "__main__":
    main()
