"""Self-taught learning of the UFLDL tutorial: features from digits 5-9, labels from digits 0-4.

    python -m experiments.self_taught --seed 0

The protocol is that of the tutorial. Of MNIST's 60,000 training images those of 5-9 are unlabelled;
of those of 0-4 the first half is labelled and the second half is the test. 200 sigmoid units, rho
0.1, beta' 3, lambda 3e-3 (the preset ng-cs294a), then softmax regression on the codes. Two things
differ: Adam on mini-batches replaces L-BFGS on the whole set, and the softmax's weight decay is
chosen on a tenth of the labelled half. Published: 98.3 %.
"""

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.data.batches import pixels_of
from rhobeta.data.raw import read_raw
from rhobeta.metrics.encoding import codes_of
from rhobeta.metrics.logistic import fit as fit_softmax
from rhobeta.metrics.logistic import logits
from rhobeta.metrics.probe import Labels, Representation, probe_accuracy
from rhobeta.paths import find_paths
from rhobeta.training.fit import fit
from rhobeta.utils.files import write_json
from rhobeta.utils.threads import one_thread

CHANGES = {"data.validation_fraction": 0.0, "training.keep": "last"}
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
"""Inverse L2 strengths C that are chosen from."""

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
    pixels = (pixels_of(train.values), pixels_of(test.values))
    codes = tuple(codes_of(trained.model, part) for part in pixels)
    labels = (train.require_labels(), test.require_labels())
    # The tutorial's lambda / 2 |W|^2 beside the mean log-loss, lambda 1e-4, on codes as they are.
    tutorial = fit_softmax(
        codes[0], labels[0].astype(np.intp), 5, inverse_penalty=1 / (TUTORIAL_DECAY * half)
    )
    predicted = logits(codes[1], tutorial.weights).argmax(1)
    return {
        "seed": seed,
        "accuracy": _accuracy(codes, labels),
        "pixel_accuracy": _accuracy(pixels, labels),
        "accuracy_with_the_tutorials_softmax": float((predicted == labels[1]).mean()),
    }


def _accuracy(
    features: tuple[NDArray[np.float32], ...], labels: tuple[NDArray[np.uint8], ...]
) -> float:
    """Test accuracy of the probe on features of the labelled half and of the test half."""
    (train, test), (train_labels, test_labels) = features, labels
    return probe_accuracy(
        Representation(train, train[:0], test),
        Labels(train_labels, train_labels[:0], test_labels),
        inverse_penalties=STRENGTHS,
    )


@one_thread()
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
