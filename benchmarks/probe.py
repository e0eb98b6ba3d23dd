"""The linear probe on 60,000 codes of 200 units, as `evaluate` fits it."""

import time

import numpy as np

from rhobeta.config.params import load_params
from rhobeta.data.batches import pixels_of
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.metrics.encoding import codes_of
from rhobeta.metrics.probe import probe_accuracy
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.paths import Paths

IMAGES, UNITS = 60_000, 200


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    manifest = read_manifest(paths.splits)
    train = read_split(paths.splits, "train", manifest)
    # Untrained: the time depends on the sizes alone.
    model = Autoencoder(
        Architecture(manifest.sample_shape, (UNITS,), "sigmoid", "relu", "sigmoid"), seed=0
    )
    chosen = np.resize(np.arange(len(train)), IMAGES)
    code, labels = codes_of(model, pixels_of(train.values))[chosen], train.require_labels()[chosen]
    settings = load_params(paths.params).evaluate
    # Warm up imports and memory.
    probe_accuracy(
        code[:1000], labels[:1000], code[:1000], labels[:1000], inverse_penalty=1, iterations=10
    )
    started = time.perf_counter()
    probe_accuracy(
        code,
        labels,
        code[:10_000],
        labels[:10_000],
        inverse_penalty=settings.probe_penalty,
        iterations=settings.probe_iterations,
    )
    seconds = time.perf_counter() - started
    return [
        (
            f"linear probe on {IMAGES} codes of {UNITS} units",
            f"{seconds:.1f} s",
            "at most 10 s",
            seconds <= 10,
        )
    ]
