"""Tracking: a training with its MLflow run in sqlite, against the same training without any.

With: what the stage `train` does, from opening the store to the packaged model, and the state that
it keeps on the way. Without: the same images, parameters and epochs, and nothing that is recorded.
`python -m benchmarks.tracking` runs it alone, in some minutes.
"""

import contextlib
import os
import statistics
import time
from pathlib import Path

from benchmarks.tuning import project
from rhobeta.config.params import Params, load_params, with_values
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.paths import Paths, find_paths
from rhobeta.pipeline import train
from rhobeta.training.fit import fit
from rhobeta.utils.threads import use_threads

TURNS = 5


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    off, on = _off_and_on(paths)
    above = on / off - 1
    return [
        (
            f"training with its MLflow run above without (median of {TURNS} each)",
            f"{above:+.1%} ({on:.2f} s, without {off:.2f} s)",
            "at most 5%",
            above <= 0.05,
        )
    ]


def _off_and_on(paths: Paths) -> tuple[float, float]:
    off, on = [], []
    with project(paths, {}) as place:
        params = load_params(place.params)
        short = with_values(params, {"training.epochs": 1})
        _seconds_off(short, place)
        _seconds_on(short, place)
        for _ in range(TURNS):
            off.append(_seconds_off(params, place))
            on.append(_seconds_on(params, place))
    return statistics.median(off), statistics.median(on)


def _seconds_off(params: Params, place: Paths) -> float:
    started = time.perf_counter()
    use_threads(params.runtime.threads)
    manifest = read_manifest(place.splits)
    images = read_split(place.splits, "train", manifest)
    fit(params, images, read_split(place.splits, "validation", manifest), progress=False)
    return time.perf_counter() - started


def _seconds_on(params: Params, place: Paths) -> float:
    started = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        train.run(params, place)
    return time.perf_counter() - started


if __name__ == "__main__":
    for row in rows(find_paths()):
        print(*row[:3], "yes" if row[3] else "NO", sep="  ")
