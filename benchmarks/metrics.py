"""The linear probe and the data's baselines, as `evaluate` and `preprocess` compute them."""

import time

import numpy as np

from benchmarks.table import Bench, Row, seconds_row
from rhobeta.config.params import load_params
from rhobeta.data.batches import pixels_of
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.metrics.data_baselines import DataBaselines
from rhobeta.metrics.encoding import codes_of
from rhobeta.metrics.probe import Labels, Representation, probe_accuracy
from rhobeta.model.autoencoder import Architecture, Autoencoder

CODES, UNITS = 60_000, 200
IMAGES, CLASSES, SIDE = 400, 40, 128


def probe(bench: Bench) -> list[Row]:
    """The linear probe on 60,000 codes of 200 units."""
    manifest = read_manifest(bench.paths.splits)
    train = read_split(bench.paths.splits, "train", manifest)
    # Untrained: the time depends on the sizes alone.
    model = Autoencoder(
        Architecture(manifest.sample_shape, (UNITS,), "sigmoid", "relu", "sigmoid"), seed=0
    )
    chosen = np.resize(np.arange(len(train)), CODES)
    code, labels = codes_of(model, pixels_of(train.values))[chosen], train.require_labels()[chosen]
    settings = load_params(bench.paths.params).evaluate

    def fitted(count: int) -> list[float]:
        started = time.perf_counter()
        probe_accuracy(
            Representation(code[:count], code[:6000], code[:10_000]),
            Labels(labels[:count], labels[:6000], labels[:10_000]),
            inverse_penalties=settings.probe_penalty,
        )
        return [time.perf_counter() - started]

    fitted(1000)
    samples = bench.in_turns({"probe": lambda: fitted(CODES)}, 3)
    return [seconds_row(f"linear probe on {CODES:,} codes of {UNITS} units", samples["probe"], 10)]


def baselines(bench: Bench) -> list[Row]:
    """The baselines of 400 images of 128 x 128 pixels in 40 classes."""
    random = np.random.default_rng(0)
    images = random.random((IMAGES, SIDE * SIDE), dtype=np.float32)
    labels = (np.arange(IMAGES) % CLASSES).astype(np.uint8)
    settings = load_params(bench.paths.params).evaluate.model_copy(update={"few_labels": [5]})
    started = time.perf_counter()
    DataBaselines.of_splits(
        Representation(images, images[:100], images[:100]),
        Labels(labels, labels[:100], labels[:100]),
        (SIDE, SIDE),
        settings,
        data_sha256="",
    )
    what = f"baselines of {IMAGES} images of {SIDE} x {SIDE} in {CLASSES} classes"
    return [seconds_row(what, [time.perf_counter() - started], 60)]
