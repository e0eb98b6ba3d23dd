"""The damage of nine traps of the KL sparsity penalty, measured on MNIST.

    python -m experiments.traps            # splits of data/processed -> experiments/traps.md

Trains the wrong and the right variant of each trap, 784-64-784, and measures both on the test
split.
The wrong variants are in trap_variants.py. docs/traps.md explains the traps and quotes the numbers.
"""

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from experiments.markdown import table
from experiments.trap_variants import (
    FVU_VARIANTS,
    RANK_BATCH,
    RHO,
    SMALL_BATCH,
    UNITS,
    kl_of,
    mean_of_kls,
)
from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.errors import RhobetaError
from rhobeta.metrics.encoding import codes_of, encode_images
from rhobeta.metrics.probe import Labels, Representation, probe_accuracy
from rhobeta.metrics.reconstruction import ReconstructionAccumulator
from rhobeta.metrics.sparsity import SparsityAccumulator
from rhobeta.model.autoencoder import Autoencoder
from rhobeta.paths import find_paths
from rhobeta.training.fit import fit
from rhobeta.utils.files import write_text
from rhobeta.utils.threads import one_thread

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class Run:
    """One training; the defaults are those of params.yaml, except for the number of epochs."""

    name: str
    kind: str = "kl"
    activation: str = "sigmoid"
    beta: float = 0.00765
    epochs: int = 15
    schedule: str = "cosine"
    batch_size: int = 256
    weight_decay: float = 2e-7
    unit_norm_decoder: bool = False


@dataclass(frozen=True)
class Data:
    """The splits, and the pixels of two of them in [0, 1]."""

    train: Samples
    validation: Samples
    test: Samples
    train_pixels: Numbers
    test_pixels: Numbers

    @property
    def mean_image(self) -> Tensor:
        """The mean image of the train split (shape: [pixels], float64)."""
        return torch.from_numpy(self.train_pixels.mean(0, dtype=np.float64))


@dataclass(frozen=True)
class Result:
    """A trained model and its row of numbers; no model where training was stopped."""

    model: Autoencoder | None
    row: list[str]


def train(data: Data, run: Run) -> Autoencoder:
    """The model of a run. Raises `RhobetaError` where training diverges."""
    overlay = {
        "model.hidden_sizes": [UNITS],
        "model.code_activation": run.activation,
        "model.output_activation": "sigmoid",
        "model.tied_weights": False,
        "model.unit_norm_decoder": run.unit_norm_decoder,
        "penalty.kind": run.kind,
        "penalty.rho": RHO,
        "penalty.beta": run.beta,
        "penalty.target": None,
        "training.epochs": run.epochs,
        "training.batch_size": run.batch_size,
        "training.learning_rate": 0.01,
        "training.noise": 0.0,
        "training.pixel_loss": "mse",
        "training.precision": "float32",
        "training.keep": "best",
        "training.seed": 0,
        "training.schedule": run.schedule,
        "training.weight_decay": run.weight_decay,
        "runtime.accelerator": "cpu",
    }
    params = overlaid(read_yaml(find_paths().params), overlay, name=run.name)
    return fit(params, data.train, data.validation).model


HEADER = (
    "run",
    "MSE",
    "FVU",
    "probe %",
    "Gini",
    "dead",
    "constant",
    "mean activation",
    "largest unit mean",
)


def measure(data: Data, run: Run) -> Result:
    """Train, and measure on the test split: a row of `HEADER`."""
    print(f"training: {run.name}", flush=True)
    try:
        model = train(data, run)
    except RhobetaError as error:
        diverged = re.search(r"diverged: (in epoch \d+) .*not finite", str(error))
        if diverged is None:
            raise
        return Result(None, [run.name, f"NaN {diverged[1]}", *["-"] * (len(HEADER) - 2)])
    encoded = encode_images(model, data.test_pixels)
    quality = ReconstructionAccumulator(data.mean_image)
    quality.update(torch.from_numpy(data.test_pixels), torch.from_numpy(encoded.reconstruction))
    found = quality.quality()
    sparsity = SparsityAccumulator(l0_thresholds=(0.1,), dead_threshold=0.1, constant_std=0.01)
    sparsity.update(torch.from_numpy(encoded.activity))
    statistics = sparsity.statistics()
    probe = probe_accuracy(
        Representation(
            codes_of(model, data.train_pixels),
            codes_of(model, pixels_of(data.validation.values)),
            encoded.code,
        ),
        Labels(*(s.require_labels() for s in (data.train, data.validation, data.test))),
        inverse_penalties=[0.01, 0.1, 1.0, 10.0],
    )
    row = [
        run.name,
        f"{found.mse:.4f}",
        f"{found.fvu:.3f}",
        f"{100 * probe:.1f}",
        f"{statistics.gini:.3f}",
        str(statistics.dead),
        str(statistics.constant),
        f"{statistics.mean_activity.mean().item():.3f}",
        f"{statistics.mean_activity.max().item():.3f}",
    ]
    return Result(model, row)


def read_data(folder: Path) -> Data:
    """The three splits in `folder`."""
    manifest = read_manifest(folder)
    train = read_split(folder, "train", manifest)
    validation = read_split(folder, "validation", manifest)
    test = read_split(folder, "test", manifest)
    return Data(train, validation, test, pixels_of(train.values), pixels_of(test.values))


def split_kl(code: Tensor) -> float:
    """Sum over units of KL(RHO || q), q the mean of all images."""
    return float(kl_of(code.double()).sum())


def small_batch_bias(data: Data, models: dict[str, Autoencoder]) -> list[str]:
    """Trap 4: how far the KL of small batches lies above that of the split, and its estimate."""
    rows = []
    for name, model in models.items():
        code = torch.from_numpy(codes_of(model, data.test_pixels)).double()
        batches = torch.stack([kl_of(b).sum() for b in torch.split(code, SMALL_BATCH)])
        estimate = (code.var(0).sum() / (2 * SMALL_BATCH * RHO * (1 - RHO))).item()
        whole, mean = split_kl(code), batches.mean().item()
        rows.append([name, *(f"{v:.3f}" for v in (whole, mean, mean - whole, estimate))])
    header = ["model", "KL of the split", "mean KL of batches of 16", "difference", "estimate"]
    return table(header, rows)


def rank_errors(data: Data, model: Autoencoder) -> list[str]:
    """Trap 5: value and gradient of the mean of per-rank KLs against those of the global mean."""
    pixels = torch.from_numpy(data.test_pixels)
    weight = cast(nn.Linear, model.encoder[0]).weight
    rows = []
    for ranks in (2, 4, 8):
        value_errors, gradient_errors = [], []
        for batch in torch.split(pixels[: 20 * ranks * RANK_BATCH], ranks * RANK_BATCH):
            code = model.encode(batch).double()
            right = kl_of(code).sum()
            wrong = mean_of_kls(code)
            g_right, g_wrong = (
                torch.autograd.grad(value, weight, retain_graph=True)[0].double()
                for value in (right, wrong)
            )
            value_errors.append(((wrong - right) / right).item())
            gradient_errors.append(((g_wrong - g_right).norm() / g_right.norm()).item())
        errors = (float(np.mean(value_errors)), float(np.mean(gradient_errors)))
        rows.append([f"{ranks} x {RANK_BATCH}", *(f"{100 * error:.1f}" for error in errors)])
    return table(["ranks x images", "value too high by %", "gradient wrong by %"], rows)


def active_units(data: Data, models: dict[str, Autoencoder]) -> list[str]:
    """Trap 7: the mean activation, and the share of activations above some thresholds."""
    rows = []
    for name, model in models.items():
        code = codes_of(model, data.test_pixels)
        shares = [(code > threshold).mean() for threshold in (0, 0.01, 0.1, 0.5)]
        rows.append([name, f"{code.mean():.3f}", *(f"{100 * share:.1f}" for share in shares)])
    return table(["code", "mean activation", "% > 0", "% > 0.01", "% > 0.1", "% > 0.5"], rows)


def fvu_variants(data: Data, model: Autoencoder) -> list[str]:
    """Trap 8: definitions in use, on a model and on the predictor of the mean image."""
    x = data.test_pixels.astype(np.float64)
    mean = data.mean_image.numpy()
    rebuilt = encode_images(model, data.test_pixels).reconstruction.astype(np.float64)
    constant = np.broadcast_to(mean, x.shape)
    rows = []
    for name, measure_fvu in FVU_VARIANTS.items():
        values = [measure_fvu(x, x_hat, mean) for x_hat in (rebuilt, constant)]
        rows.append([name, *(f"{value:.3f}" for value in values)])
    return table(["definition", "model", "mean image"], rows)


def decoder_norms(models: dict[str, Autoencoder]) -> list[str]:
    """Trap 9: lengths of the decoder's columns."""
    rows = []
    for name, model in models.items():
        norms = cast(nn.Linear, model.decoder[0]).weight.norm(dim=0)
        rows.append([name, f"{norms.mean().item():.1f}", f"{norms.max().item():.1f}"])
    return table(["run", "mean column length", "largest"], rows)


RIGHT = Run("kl on sigmoid")
POISSON = Run("kl_poisson on ReLU", "kl_poisson", "relu")
# Too weak to hold ReLU codes below 1.
WEAK = 1e-4
TRAPS: dict[str, tuple[Run, ...]] = {
    "The scale of beta": (replace(RIGHT, name="beta 3", beta=3.0), RIGHT),
    "Codes without a bound": (
        Run("no penalty on ReLU", "none", "relu"),
        Run("kl_tutorial on ReLU, beta 1e-4", "kl_tutorial", "relu", beta=WEAK),
        Run("clamped KL on ReLU, beta 1e-4", "clamped_kl", "relu", beta=WEAK),
        Run("kl_poisson on ReLU, beta 1e-4", "kl_poisson", "relu", beta=WEAK),
        Run("kl_tutorial on ReLU, constant rate", "kl_tutorial", "relu", schedule="constant"),
        Run("kl_tutorial on ReLU", "kl_tutorial", "relu"),
        Run("kl_poisson on ReLU, constant rate", "kl_poisson", "relu", schedule="constant"),
        POISSON,
    ),
    "Logarithms of rounded means": (
        Run("half saturated, eps in float16", "eps_kl_half", "half_saturated"),
        Run("half saturated, eps in float32", "eps_kl", "half_saturated"),
        Run("half saturated, from logits", "kl", "half_saturated"),
        Run("usual start, eps in float16", "eps_kl_half"),
        RIGHT,
    ),
    "Small batches": (
        Run("batch 16, KL of the batch", "batch_kl", batch_size=SMALL_BATCH, epochs=4),
        Run("batch 16, KL of a running mean", batch_size=SMALL_BATCH, epochs=4),
    ),
    "Several processes": (Run("mean of 8 KLs of 32 images", "mean_of_kls"), RIGHT),
    "The copied bug": (
        Run("mean over units, sigmoid code", "kl_over_features"),
        Run("sigmoid of a ReLU", "kl_of_sigmoid", "relu"),
        Run("both", "kl_of_sigmoid_over_features", "relu"),
        Run("both, beta 0.001", "kl_of_sigmoid_over_features", "relu", beta=0.001),
        RIGHT,
        POISSON,
    ),
    "Mean activation is not activity": (),
    "Variance explained": (),
    "Small codes, large decoder": (
        Run("L1 on ReLU, no decay", "l1_code", "relu", beta=WEAK, weight_decay=0),
        Run("L1 on ReLU, decay 2e-7", "l1_code", "relu", beta=WEAK),
        Run("L1 on ReLU, unit norm", "l1_code", "relu", beta=WEAK, unit_norm_decoder=True),
        replace(RIGHT, name="kl on sigmoid, no decay", weight_decay=0),
        RIGHT,
        replace(RIGHT, name="kl on sigmoid, unit norm", unit_norm_decoder=True),
    ),
}


def report(data: Data) -> str:
    """Train every run once; the tables of each trap, as Markdown."""
    runs = {run.name: run for trap in TRAPS.values() for run in trap}
    results = {name: measure(data, run) for name, run in runs.items()}
    models = {name: found.model for name, found in results.items() if found.model is not None}
    right, poisson = models[RIGHT.name], models[POISSON.name]
    further: dict[str, Callable[[dict[str, Autoencoder]], list[str]]] = {
        "Small batches": lambda trained: small_batch_bias(data, trained),
        "Several processes": lambda _: rank_errors(data, right),
        "Mean activation is not activity": lambda _: active_units(
            data, {RIGHT.name: right, POISSON.name: poisson}
        ),
        "Variance explained": lambda _: fvu_variants(data, right),
        "Small codes, large decoder": decoder_norms,
    }
    lines = ["# Damage of nine traps", "", "Written by `python -m experiments.traps`.", ""]
    for number, (trap, chosen) in enumerate(TRAPS.items(), start=1):
        lines += [f"## {number}. {trap}", ""]
        if chosen:
            lines += [*table(HEADER, [results[run.name].row for run in chosen]), ""]
        if trap in further:
            trained = {run.name: models[run.name] for run in chosen if run.name in models}
            lines += [*further[trap](trained), ""]
    return "\n".join(lines[:-1]) + "\n"


@one_thread()
def main() -> None:
    """Write traps.md beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--splits", type=Path, default=Path("data/processed"))
    data = read_data(parser.parse_args().splits)
    write_text(Path(__file__).with_suffix(".md"), report(data))


if __name__ == "__main__":
    main()
