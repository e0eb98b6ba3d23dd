"""The outcomes in experiments/outcomes: which experiments there are, and their numbers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rhobeta.training.sparsity_control import TOLERANCE

SEEDS = (0, 1, 2)
MATCHED = {64: ("kl-64", "l1-64", "topk-64"), 1000: ("kl-1000", "l1-1000", "topk-1000")}
"""The comparison at matched L0: experiments by number of units."""
MATCHED_L0 = {64: "10", 1000: "25"}
PENALTIES = {"kl": "KL, sigmoid", "l1": "L1, ReLU", "topk": "TopK"}
DEAD_UNITS = {
    "topk": "TopK, noise 0.3",
    "l1": "L1, ReLU",
    "kl_poisson": "Poisson KL, ReLU",
}
DATA_SETS = ("mnist", "fashion-mnist")
WIDTHS = (64, 400)
TARGETS = (0.02, 0.05, 0.1, 0.2)
"""The trainings with a target: data sets, units and mean activations."""

CLAIMS = {
    "blog-plain-deep": "no penalty: sparse by ReLU alone?",
    "blog-kl-deep": "beta 3 on a mean over pixels",
    "blog-kl-deep-fixed": "beta' 3 in its own units",
    "blog-tanh-l1": "L1 0.01 on the weights",
    "identity": "overcomplete, no penalty",
    "slides-l1": "overcomplete, L1 on the code",
}
"""Presets without a published number, run with one seed, and what each tries."""

Outcome = Mapping[str, Any]


def target_name(data_set: str, units: int, target: float) -> str:
    """Name of the outcome of trainings with a target.

    >>> target_name("mnist", 64, 0.1)
    'target-mnist-64-0.1'
    """
    return f"target-{data_set}-{units}-{target:g}"


def load(folder: Path, name: str) -> list[Outcome]:
    """The outcomes of one experiment for all its seeds; every one must be there."""
    seeds = SEEDS[:1] if name in CLAIMS else SEEDS
    return [json.loads((folder / f"{name}-{seed}.json").read_text()) for seed in seeds]


def is_at_target(activity: float, target: float) -> bool:
    """Whether a mean activation is within 2 % of the target."""
    return abs(activity / target - 1) <= TOLERANCE


def load_target(folder: Path, data_set: str, units: int, target: float) -> Outcome:
    """The outcome of the trainings with one target."""
    name = f"{target_name(data_set, units, target)}.json"
    found: Outcome = json.loads((folder / name).read_text())
    return found


def load_baselines(folder: Path) -> dict[str, float]:
    """Test MSE of PCA, clipped to [0, 1], by number of components."""
    mse: dict[str, float] = json.loads((folder / "baselines.json").read_text())["pca_clipped_mse"]
    return mse


def values(outcomes: Sequence[Outcome], path: str) -> list[float]:
    """One number of each outcome, such as `metrics/test/mse`."""
    found = []
    for outcome in outcomes:
        value: Any = outcome
        for name in path.split("/"):
            value = value[name]
        found.append(float(value))
    return found
