"""The default, params.yaml, trained and measured with another seed than its own.

    python -m experiments.default --seed 1

`dvc repro` measures the seed of params.yaml. These two more give README's table its error bars:
`python -m experiments.readme`. The stages run as in `experiments.train_and_measure`.
"""

import argparse
import json
from typing import Any

from experiments.train_and_measure import run_stages
from rhobeta.config.params import read_yaml
from rhobeta.config.presets import overlaid
from rhobeta.paths import find_paths
from rhobeta.utils.files import read_json, write_json


def measure(seed: int) -> dict[str, Any]:
    """Run preprocess, train and evaluate; return what `reports/details.json` holds."""
    overlay = {"training.seed": seed, "runtime.experiment": "rhobeta-reproductions"}
    params = overlaid(read_yaml(find_paths().params), overlay, name="another seed")
    with run_stages(params, f"default-{seed}") as paths:
        details: dict[str, Any] = read_json(paths.details, made_by="rhobeta evaluate")
    return details


def main() -> None:
    """Measure the default with one seed and write experiments/outcomes/default-SEED.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, required=True)
    seed = parser.parse_args().seed
    details = measure(seed)
    write_json(
        find_paths().workspace / "experiments" / "outcomes" / f"default-{seed}.json", details
    )
    print(json.dumps(details["beats_baseline"]))


if __name__ == "__main__":
    main()
