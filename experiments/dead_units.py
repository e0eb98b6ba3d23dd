"""Dead units of three codes of 1,000 units, before and after the remedies, over ten seeds.

    python -m experiments.dead_units topk

Before: k of the TopK code falls from 300, dead units have the auxiliary loss, and the images with
noise choose the units; ReLU codes start Glorot-uniform. After: the preset k-sparse, whose units are
chosen by images without noise; ReLU codes start centred; biases of dead units are lifted. A quarter
of the training images, twelve epochs. A unit is dead that does not exceed 0.1 for any of the 10,000
test images, without noise.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import numpy as np
from torch import Tensor

from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.data.raw import read_raw
from rhobeta.data.samples import Samples
from rhobeta.model.autoencoder import Autoencoder
from rhobeta.paths import find_paths
from rhobeta.training.fit import fit
from rhobeta.utils.files import write_json

SEEDS = range(10)
IMAGES = 13_500
SHORT = {"training.epochs": 12, "training.keep": "last"}
GLOROT = {"model.start": "glorot", "training.bias_lift": 0.0}
CENTRED = {"model.start": "centred", "training.bias_lift": 3.0}
OLD_K_SPARSE = {
    "topk.start": 300,
    "topk.auxk_coef": 0.5,
    "training.bias_lift": 0.0,
    "training.epsilon": 1e-8,
}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "topk": ("presets/k-sparse", {}, OLD_K_SPARSE),
    "l1": ("experiments/overlays/l1-1000", CENTRED, GLOROT),
    "kl_poisson": (
        "experiments/overlays/l1-1000",
        CENTRED
        | {
            "model.unit_norm_decoder": False,
            "penalty.kind": "kl_poisson",
            "penalty.rho": 0.02,
            "penalty.beta": 0.0005,
        },
        GLOROT,
    ),
}
"""By code: its overlay, what differs from it, and what was otherwise before."""


def measure(code: str) -> list[dict[str, Any]]:
    """Dead units and mean squared error of every seed, before and after."""
    paths = find_paths()
    overlay, changes, before = CASES[code]
    path = Path(paths.workspace / overlay)
    values = read_preset(path.parent, path.name) | changes | SHORT
    raw = read_raw(paths.raw_data)
    train, test = raw.train.take(np.arange(IMAGES)), cast(Samples, raw.test)
    rows = []
    for seed in SEEDS:
        row: dict[str, Any] = {"seed": seed}
        for name, own in {"before": before, "after": {}}.items():
            params = overlaid(
                read_yaml(paths.params), values | own | {"training.seed": seed}, name=code
            )
            with noise_chooses() if name == "before" else nullcontext():
                found = fit(params, train, test, progress=False)
            row[name] = {
                "dead_units": found.sparsity["validation/dead_units"],
                "mse": found.best_metrics["validation/mse"],
            }
        rows.append(row)
    return rows


@contextmanager
def noise_chooses() -> Iterator[None]:
    """Let the images that the encoder is given choose the units of a TopK code, noise and all."""
    activate = Autoencoder.activate

    def without_clean(
        model: Autoencoder, z: Tensor, *, k: int | None = None, clean: Tensor | None = None
    ) -> Tensor:
        return activate(model, z, k=k)

    with patch.object(Autoencoder, "activate", without_clean):
        yield


def main() -> None:
    """Measure one code and write experiments/outcomes/dead-units-CODE.json."""
    parser = argparse.ArgumentParser(description="Dead units before and after the remedies.")
    parser.add_argument("code", choices=CASES)
    code = parser.parse_args().code
    folder = find_paths().workspace / "experiments" / "outcomes"
    write_json(folder / f"dead-units-{code}.json", measure(code))


if __name__ == "__main__":
    main()
