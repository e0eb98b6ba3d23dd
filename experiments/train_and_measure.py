"""Run preprocess, train and evaluate for one preset or overlay and one seed.

    python -m experiments.train_and_measure presets/k-sparse.yaml --seed 1

The stages run in a folder of their own below experiments/work, on the data in data/raw. The run is
in the MLflow experiment `rhobeta-reproductions`, the numbers are in
experiments/outcomes/NAME-SEED.json.
"""

import argparse
import csv
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rhobeta.config.params import Params, read_yaml
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.data.batches import pixels_of
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.extensions import ACTIVATION_SPECS, load_extensions
from rhobeta.metrics.reconstruction import truncated_mse
from rhobeta.model.serialization import model_from_bytes
from rhobeta.paths import Paths, find_paths
from rhobeta.pipeline import evaluate, preprocess, train
from rhobeta.utils.files import read_json, write_json
from rhobeta.utils.threads import one_thread

FIXED: dict[str, Any] = {
    "data.name": "mnist",
    "data.classes": None,
    "data.seed": 0,
    "evaluate.tasks": [],
    "runtime.experiment": "rhobeta-reproductions",
}
"""Data and experiment of all runs, whatever params.yaml says."""

KEPT_UNITS = (5, 10, 25, 50)
"""Numbers of most active units to which codes are cut."""


def measure(preset: Path, seed: int) -> dict[str, Any]:
    """Run the stages and gather the outcome: parameters, metrics, and truncated reconstructions."""
    root = find_paths()
    load_extensions(root.workspace / "extensions")
    overlay = read_preset(preset.parent, preset.stem)
    params = overlaid(
        read_yaml(root.params), overlay | FIXED | {"training.seed": seed}, name=preset.stem
    )

    with run_stages(params, f"{preset.stem}-{seed}") as paths:
        return {
            "seed": seed,
            "parameters": overlay,
            "last_epoch": _last_epoch(paths),
            "metrics": _metrics(paths),
            "truncated_mse": _truncated(paths),
        }


@contextmanager
def run_stages(params: Params, name: str) -> Iterator[Paths]:
    """Run the stages in experiments/work/`name`, which is removed on success; yield its paths."""
    root = find_paths()
    work = root.workspace / "experiments" / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    (work / "data").mkdir(parents=True)
    (work / "data" / "raw").symlink_to(root.raw_data)
    paths = Paths(workspace=work, store_root=root.store_root)
    for stage in (preprocess, train, evaluate):
        stage.run(params, paths)
    yield paths
    shutil.rmtree(work)


def _metrics(paths: Paths) -> dict[str, dict[str, Any]]:
    """The numbers of the model, and the probe on raw pixels."""
    details = read_json(paths.details, made_by="rhobeta evaluate")
    pixel_probe = details["baselines"]["pixel_probe"]
    return {"test": details["test"], "baselines": {"pixel_probe": pixel_probe}}


def _last_epoch(paths: Paths) -> dict[str, float]:
    with paths.history.open(encoding="utf-8") as file:
        last = list(csv.DictReader(file))[-1]
    return {name: float(value) for name, value in last.items() if value != ""}


@one_thread()
def _truncated(paths: Paths) -> dict[str, float]:
    model = model_from_bytes(paths.model.read_bytes(), name=str(paths.model)).model
    manifest = read_manifest(paths.splits)
    if ACTIVATION_SPECS[model.architecture.code_activation].low < 0:
        # In such a code 0 does not mean inactive.
        return {}
    x = torch.from_numpy(pixels_of(read_split(paths.splits, "test", manifest).values))
    units = model.architecture.units
    return {str(kept): truncated_mse(model, x, kept) for kept in KEPT_UNITS if kept <= units}


def main() -> None:
    """Measure one preset with one seed and write the outcome."""
    parser = argparse.ArgumentParser(description="Train and measure one preset with one seed.")
    parser.add_argument("preset", type=Path, help="a parameter overlay, such as presets/NAME.yaml")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    outcome = measure(options.preset, options.seed)
    name = f"{options.preset.stem}-{options.seed}.json"
    write_json(find_paths().workspace / "experiments" / "outcomes" / name, outcome)
    print(json.dumps(outcome["metrics"]["test"]))


if __name__ == "__main__":
    main()
