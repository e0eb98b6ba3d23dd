"""Tracking: a training with its MLflow run in sqlite, against the same training without any.

With: what the stage `train` does, from opening the store to the packaged model, and the checkpoints
that it keeps on the way. Without: the same images, parameters and epochs, and nothing recorded.
"""

import contextlib
import os
import time
from functools import partial
from pathlib import Path

from benchmarks.projects import project
from benchmarks.table import Bench, Row, ratio_row
from rhobeta.config.params import Params, load_params, with_values
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.paths import Paths
from rhobeta.pipeline import train
from rhobeta.training.fit import fit
from rhobeta.utils.threads import use_threads


def rows(bench: Bench) -> list[Row]:
    """Rows of the benchmark's table."""
    with project(bench.paths, {}) as place:
        params = load_params(place.params)
        short = with_values(params, {"training.epochs": 1})
        _with_run(short, place)
        variants = {
            "with": partial(_with_run, params, place),
            "without": partial(_alone, params, place),
        }
        return [
            ratio_row("training with its MLflow run / without", bench.in_turns(variants, 5), 1.05)
        ]


def _alone(params: Params, place: Paths) -> list[float]:
    started = time.perf_counter()
    use_threads(params.runtime.threads)
    manifest = read_manifest(place.splits)
    images = read_split(place.splits, "train", manifest)
    fit(params, images, read_split(place.splits, "validation", manifest), progress=False)
    return [time.perf_counter() - started]


def _with_run(params: Params, place: Paths) -> list[float]:
    started = time.perf_counter()
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        train.run(params, place)
    return [time.perf_counter() - started]
