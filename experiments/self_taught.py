"""Self-taught learning of the UFLDL tutorial: features from digits 5-9, labels from digits 0-4.

    python -m experiments.self_taught --seed 0

The protocol is that of the tutorial. Of MNIST's 60,000 training images those of 5-9 are unlabelled;
of those of 0-4 the first half is labelled and the second half is the test. 200 sigmoid units, rho
0.1, beta' 3, lambda 3e-3 (the preset ng-cs294a), then softmax regression on the codes. Two things
differ: Adam on mini-batches replaces L-BFGS on the whole set, and the softmax's weight decay is
chosen by cross-validation within the labelled half. Published: 98.3 %.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.data.batches import pixels_of
from rhobeta.data.raw import read_raw
from rhobeta.data.samples import Samples
from rhobeta.metrics.encoding import codes_of
from rhobeta.paths import find_paths
from rhobeta.training.fit import fit
from rhobeta.utils.files import write_json

CHANGES = {"data.validation_fraction": 0.0, "training.keep": "last"}
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Inverse L2 strengths C that cross-validation chooses from."""

TUTORIAL_DECAY = 1e-4


def measure(seed: int) -> dict[str, Any]:
    """Train on 5-9, classify 0-4; returns accuracies on the test half."""
    paths = find_paths()
    data = read_raw(paths.raw_data).train
    overlay = read_preset(paths.presets, "ng-cs294a") | CHANGES | {"training.seed": seed}
    params = overlaid(read_yaml(paths.params), overlay, name="ng-cs294a")
    unlabelled = data.take(np.flatnonzero(data.require_labels() >= 5))
    known = data.take(np.flatnonzero(data.require_labels() <= 4))
    half = round(len(known) / 2)
    train, test = known.take(np.arange(half)), known.take(np.arange(half, len(known)))
    trained = fit(params, unlabelled, unlabelled.take(np.arange(0)))
    train_codes = codes_of(trained.model, pixels_of(train.values))
    test_codes = codes_of(trained.model, pixels_of(test.values))
    accuracy, strength = _softmax(train_codes, test_codes, train, test)
    on_pixels, _ = _softmax(pixels_of(train.values), pixels_of(test.values), train, test)
    # The tutorial's lambda / 2 |W|^2 beside the mean log-loss, lambda 1e-4, on codes as they are.
    tutorial = _fitted(train_codes, train.require_labels(), 1 / (TUTORIAL_DECAY * half))
    return {
        "seed": seed,
        "accuracy": accuracy,
        "strength": strength,
        "pixel_accuracy": on_pixels,
        "accuracy_with_the_tutorials_softmax": float(
            tutorial.score(test_codes, test.require_labels())
        ),
    }


def _softmax(
    train_values: NDArray[np.float32],
    test_values: NDArray[np.float32],
    train: Samples,
    test: Samples,
) -> tuple[float, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score

    # One scale for all units, so that C means the same for codes and pixels.
    scale = train_values.std()
    scaled = train_values / scale
    scores = {
        strength: cross_val_score(
            LogisticRegression(C=strength, max_iter=200), scaled, train.require_labels(), cv=3
        ).mean()
        for strength in STRENGTHS
    }
    strength = max(scores, key=lambda s: scores[s])
    probe = _fitted(scaled, train.require_labels(), strength)
    return float(probe.score(test_values / scale, test.require_labels())), strength


def _fitted(values: NDArray[np.float32], labels: NDArray[np.uint8], strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, max_iter=400).fit(values, labels)


def main() -> None:
    """Measure one seed and write experiments/outcomes/self-taught-SEED.json."""
    parser = argparse.ArgumentParser(description="UFLDL self-taught learning with one seed.")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    outcome = measure(options.seed)
    folder = find_paths().workspace / "experiments" / "outcomes"
    write_json(folder / f"self-taught-{options.seed}.json", outcome)
    print(f"accuracy {outcome['accuracy']:.4f}, on pixels {outcome['pixel_accuracy']:.4f}")


if __name__ == "__main__":
    main()
