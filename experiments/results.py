"""The page and the figure of the reproductions, from experiments/outcomes.

python -m experiments.results
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.markdown import Row, table
from rhobeta.paths import find_paths
from rhobeta.utils.files import write_text

Outcome = Mapping[str, Any]

SEEDS = (0, 1, 2)
MATCHED = {64: ("kl-64", "l1-64", "topk-64"), 1000: ("kl-1000", "l1-1000", "topk-1000")}
MATCHED_L0 = {64: "10", 1000: "25"}
PENALTIES = {"kl": "KL, sigmoid", "l1": "L1, ReLU", "topk": "TopK"}
CLAIMS = {
    "blog-plain-deep": "no penalty: sparse by ReLU alone?",
    "blog-kl-deep": "beta 3 on a mean over pixels",
    "blog-kl-deep-fixed": "beta' 3 where it belongs",
    "blog-tanh-l1": "L1 0.01 on the kernels",
    "identity": "overcomplete, no penalty",
    "slides-l1": "overcomplete, L1 on the code",
}
UNITS = {"blog-tanh-l1": 32}
"""A tanh code has no units at 0: all of them are active."""
HEAD = """# Reproductions of published results

Ours is mean ± standard deviation over {count} seeds of initial weights and order of images, on
test images by which nothing was chosen. `dvc repro experiments/dvc.yaml` makes this page, its
figure and the outcomes in `experiments/outcomes` anew; each training is a run in the MLflow
experiment `rhobeta-reproductions`.
"""


def main() -> None:
    """Write experiments/results.md and experiments/results.png."""
    from experiments.figure import draw

    folder = find_paths().workspace / "experiments"
    write_text(folder / "results.md", page(folder))
    draw(folder / "outcomes", folder / "results.png")


def page(folder: Path) -> str:
    """The page, from the outcomes and the notes in `folder`."""
    outcomes = folder / "outcomes"
    parts = [
        HEAD.format(count=len(SEEDS)),
        "## Published numbers\n",
        *table(("What", "Published", "Ours", "Reached", "Settings"), published_rows(outcomes)),
        "",
        (folder / "notes.md").read_text(encoding="utf-8"),
        "## Reconstruction at matched L0\n",
        (folder / "matched.md").read_text(encoding="utf-8"),
        *table(
            ("Units", "Code", "Its own L0", "MSE", "MSE of its 10 or 25 most active", "Dead units"),
            matched_rows(outcomes),
        ),
        "",
        "![Test MSE by number of units that speak](results.png)\n",
        "## The other presets, one seed each\n",
        (folder / "recipes.md").read_text(encoding="utf-8"),
        *table(
            ("Preset", "What it tries", "MSE", "FVU", "Active", "Above 0.1", "Gini", "Probe"),
            preset_rows(outcomes),
        ),
        "",
        "![Filters of identity: noise](../docs/images/filters-identity.png)\n",
        "![Filters of slides-l1: strokes](../docs/images/filters-slides-l1.png)\n",
    ]
    return "\n".join(parts)


def load(folder: Path, name: str) -> list[Outcome]:
    """The outcomes of one experiment, of every seed that it runs with. All must be there."""
    seeds = SEEDS[:1] if name in CLAIMS else SEEDS
    return [json.loads((folder / f"{name}-{seed}.json").read_text()) for seed in seeds]


def published_rows(folder: Path) -> list[Row]:
    """Published value, ours, and whether it was reached."""
    tutorial, taught = load(folder, "tutorial-relu-kl"), load(folder, "self-taught")
    ng, sparse = load(folder, "ng-cs294a"), load(folder, "k-sparse")
    loss = [o["last_epoch"]["train_loss"] for o in tutorial]
    mse = [o["metrics"]["test"]["mse"] for o in tutorial]
    recipe = "`tutorial-relu-kl`: 784-64-784, rho 0.05, weight 0.1, 50 epochs of 60,000"
    return [
        ("Tutorial, final loss", "0.0281", spread(loss, ".4f"), near(loss, 0.0282, 0.02), recipe),
        ("Tutorial, test MSE", "0.0189 (Keras)", spread(mse, ".4f"), near(mse, 0.0189, 0.03), ""),
        (
            "Tutorial, mean code",
            "0.052 (Keras)",
            spread([o["metrics"]["test"]["rho_hat_mean"] for o in tutorial], ".4f"),
            "",
            "",
        ),
        (
            "Tutorial, zeros in the code",
            "80 % (Keras)",
            percent([1 - o["metrics"]["test"]["l0_at_0"] / 64 for o in tutorial]),
            "",
            "",
        ),
        (
            "Self-taught learning, 5-9 to 0-4",
            "98.3 %",
            percent([o["accuracy"] for o in taught]),
            reached([o["accuracy"] for o in taught], 0.983),
            f"200 sigmoid units as in `ng-cs294a`; on pixels {percent(pixels(taught))}; with the"
            f" tutorial's own softmax {percent(as_there(taught))}",
        ),
        (
            "CS294A features, linear probe",
            "none",
            percent(probes(ng)),
            "",
            f"`ng-cs294a`; on pixels {percent(pixel_probes(ng))}",
        ),
        (
            "k-sparse features, logistic regression",
            "98.65 %",
            percent(probes(sparse)),
            reached(probes(sparse), 0.9865),
            f"`k-sparse`; features of {sparse[0]['parameters']['evaluate.probe_k']} units",
        ),
    ]


def matched_rows(folder: Path) -> list[Row]:
    """Each code at its own L0, and cut to one and the same."""
    baselines = json.loads((folder / "baselines.json").read_text())["pca_clipped_mse"]
    rows: list[Row] = []
    for units, names in MATCHED.items():
        kept = MATCHED_L0[units]
        for name in names:
            outcomes = load(folder, name)
            threshold = "l0_at_0.1" if name.startswith("kl") else "l0_at_0"
            rows.append(
                (
                    str(units),
                    PENALTIES[name.partition("-")[0]],
                    spread([o["metrics"]["test"][threshold] for o in outcomes], ".1f"),
                    spread([o["metrics"]["test"]["mse"] for o in outcomes], ".4f"),
                    spread([o["truncated_mse"][kept] for o in outcomes], ".4f"),
                    spread([o["metrics"]["test"]["dead_units"] for o in outcomes], ".0f"),
                )
            )
        rows.append((str(units), f"PCA, {kept} components", kept, f"{baselines[kept]:.4f}", "", ""))
    return rows


def preset_rows(folder: Path) -> list[Row]:
    """What became of the recipes that have no published number."""
    rows: list[Row] = []
    for name, claim in CLAIMS.items():
        outcomes = [o["metrics"] for o in load(folder, name)]
        rows.append(
            (
                f"`{name}`",
                claim,
                spread([o["test"]["mse"] for o in outcomes], ".4f"),
                spread([o["test"]["fvu"] for o in outcomes], ".2f"),
                spread([o["test"].get("l0_at_0", UNITS.get(name, 0)) for o in outcomes], ".1f"),
                spread([o["test"]["l0_at_0.1"] for o in outcomes], ".1f"),
                spread([o["test"]["gini"] for o in outcomes], ".2f"),
                percent([o["probe"]["code_accuracy"] for o in outcomes]),
            )
        )
    return rows


def spread(values: Sequence[float], form: str) -> str:
    """Mean and standard deviation in the format `form`; the value itself where it is one."""
    if len(values) == 1:
        return f"{values[0]:{form}}"
    return f"{statistics.mean(values):{form}} ± {statistics.stdev(values):{form}}"


def percent(values: Sequence[float]) -> str:
    """Mean and standard deviation of shares, in percent; the value itself where it is one."""
    if len(values) == 1:
        return f"{100 * values[0]:.2f} %"
    return f"{100 * statistics.mean(values):.2f} ± {100 * statistics.stdev(values):.2f} %"


def near(values: Sequence[float], published: float, tolerance: float) -> str:
    """Whether every seed is within a share of the published value."""
    worst = max(values, key=lambda value: abs(value - published))
    inside = abs(worst - published) <= tolerance * published
    return f"{'yes' if inside else 'no'}: every seed within {abs(worst / published - 1):.1%}"


def reached(values: Sequence[float], published: float) -> str:
    """Whether the mean is at least the published value."""
    short = published - statistics.mean(values)
    return "yes" if short <= 0 else f"no: {100 * short:.2f} points short"


def probes(outcomes: Sequence[Outcome]) -> list[float]:
    """Accuracies of the linear probe on the code."""
    return [outcome["metrics"]["probe"]["code_accuracy"] for outcome in outcomes]


def pixel_probes(outcomes: Sequence[Outcome]) -> list[float]:
    """Accuracies of the linear probe on raw pixels."""
    return [outcome["metrics"]["probe"]["pixel_accuracy"] for outcome in outcomes]


def as_there(outcomes: Sequence[Outcome]) -> list[float]:
    """Accuracies in self-taught learning with the tutorial's weight decay of the softmax."""
    return [outcome["accuracy_with_the_tutorials_softmax"] for outcome in outcomes]


def pixels(outcomes: Sequence[Outcome]) -> list[float]:
    """Accuracies on raw pixels in self-taught learning."""
    return [outcome["pixel_accuracy"] for outcome in outcomes]


if __name__ == "__main__":
    main()
