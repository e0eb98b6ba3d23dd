"""The baselines of 400 images of 128 x 128 pixels in 40 classes, as `preprocess` computes them."""

import time

import numpy as np

from rhobeta.config.params import load_params
from rhobeta.metrics.data_baselines import DataBaselines
from rhobeta.paths import Paths

IMAGES, CLASSES, SIDE = 400, 40, 128


def rows(paths: Paths) -> list[tuple[str, str, str, bool]]:
    """Rows of the benchmark's table: name, measured, target, met."""
    random = np.random.default_rng(0)
    images = random.random((IMAGES, SIDE * SIDE), dtype=np.float32)
    labels = (np.arange(IMAGES) % CLASSES).astype(np.uint8)
    settings = load_params(paths.params).evaluate.model_copy(update={"few_labels": [5]})
    started = time.perf_counter()
    DataBaselines.of_splits(
        (images, images[:100]), (labels, labels[:100]), (SIDE, SIDE), settings, data_sha256=""
    )
    seconds = time.perf_counter() - started
    return [
        (
            f"baselines of {IMAGES} images of {SIDE} x {SIDE} in {CLASSES} classes",
            f"{seconds:.1f} s",
            "at most 60 s",
            seconds <= 60,
        )
    ]
