"""The page and the figure of the reproductions, from experiments/outcomes.

python -m experiments.results
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.figure import draw, draw_control
from experiments.markdown import Row, table
from experiments.outcome import (
    CLAIMS,
    DATA_SETS,
    DEAD_UNITS,
    MATCHED,
    MATCHED_L0,
    PENALTIES,
    SEEDS,
    TARGETS,
    WIDTHS,
    Outcome,
    is_at_target,
    load,
    load_baselines,
    load_target,
    target_name,
    values,
)
from rhobeta.paths import find_paths
from rhobeta.training.sparsity_control import TOLERANCE
from rhobeta.utils.files import write_text

UNITS = {"blog-tanh-l1": 32}
"""In a tanh code no activity is exactly 0, so all units are active."""
HEAD = """# Reproductions of published results

Our numbers are mean ± standard deviation over {count} seeds (initial weights and order of images),
measured on test images that no choice was based on. `dvc repro` in this folder computes the
outcomes in `experiments/outcomes`, this page and its figure. Each training is a run in the MLflow
experiment `rhobeta-reproductions`.
"""


def main() -> None:
    """Write experiments/results.md and its figures."""
    folder = find_paths().workspace / "experiments"
    write_text(folder / "results.md", page(folder))
    draw(folder / "outcomes", folder / "results.png")
    draw_control(folder / "outcomes", folder / "targets.png")


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
        "![Test MSE by number of active units](results.png)\n",
        *dead_units_section(folder),
        "## A target for the activity\n",
        (folder / "targets.md").read_text(encoding="utf-8"),
        *table(
            ("Data", "Units", "Target", "Mean activation", "Beta", "MSE", "Search", "Within 2 %"),
            target_rows(outcomes),
        ),
        "",
        "![Mean activation and beta by epoch](targets.png)\n",
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


def published_rows(folder: Path) -> list[Row]:
    """Published value, ours, and whether it was reached."""
    tutorial, taught = load(folder, "tutorial-relu-kl"), load(folder, "self-taught")
    ng, sparse = load(folder, "ng-cs294a"), load(folder, "k-sparse")
    loss, mse = values(tutorial, "last_epoch/train_loss"), values(tutorial, "metrics/test/mse")
    active = values(tutorial, "metrics/test/l0_at_0")
    accuracy = values(taught, "accuracy")
    softmax = values(taught, "accuracy_with_the_tutorials_softmax")
    probe = "metrics/test/probe"
    recipe = "`tutorial-relu-kl`: 784-64-784, rho 0.05, weight 0.1, 50 epochs of 60,000"
    return [
        ("Tutorial, final loss", "0.0281", spread(loss, ".4f"), near(loss, 0.0282, 0.02), recipe),
        ("Tutorial, test MSE", "0.0189 (Keras)", spread(mse, ".4f"), near(mse, 0.0189, 0.03), ""),
        (
            "Tutorial, mean code",
            "0.052 (Keras)",
            spread(values(tutorial, "metrics/test/rho_hat_mean"), ".4f"),
            "",
            "",
        ),
        (
            "Tutorial, zeros in the code",
            "80 % (Keras)",
            percent([1 - units / 64 for units in active]),
            "",
            "",
        ),
        (
            "Self-taught learning, 5-9 to 0-4",
            "98.3 %",
            percent(accuracy),
            reached(accuracy, 0.983),
            f"200 sigmoid units as in `ng-cs294a`; on pixels"
            f" {percent(values(taught, 'pixel_accuracy'))}; with the tutorial's own softmax"
            f" {percent(softmax)}",
        ),
        (
            "CS294A features, linear probe",
            "none",
            percent(values(ng, probe)),
            "",
            f"`ng-cs294a`; on pixels {percent(values(ng, 'metrics/baselines/pixel_probe'))}",
        ),
        (
            "k-sparse features, logistic regression",
            "98.65 %",
            percent(values(sparse, probe)),
            reached(values(sparse, probe), 0.9865),
            f"`k-sparse`; features of {sparse[0]['parameters']['evaluate.probe_k']} units;"
            f" {spread(values(sparse, 'metrics/test/dead_units'), '.0f')} of 1,000 units dead",
        ),
    ]


def matched_rows(folder: Path) -> list[Row]:
    """Each code at its own L0, and cut to one common L0."""
    baselines = load_baselines(folder)
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
                    spread(values(outcomes, f"metrics/test/{threshold}"), ".1f"),
                    spread(values(outcomes, "metrics/test/mse"), ".4f"),
                    spread(values(outcomes, f"truncated_mse/{kept}"), ".4f"),
                    spread(values(outcomes, "metrics/test/dead_units"), ".0f"),
                )
            )
        rows.append((str(units), f"PCA, {kept} components", kept, f"{baselines[kept]:.4f}", "", ""))
    return rows


def dead_units_section(folder: Path) -> list[str]:
    """Dead units before and after the remedies, once these experiments have run."""
    rows: list[Row] = []
    for code, label in DEAD_UNITS.items():
        path = folder / "outcomes" / f"dead-units-{code}.json"
        if not path.is_file():
            continue
        runs = json.loads(path.read_text(encoding="utf-8"))
        dead = {when: values(runs, f"{when}/dead_units") for when in ("before", "after")}
        mse = [spread(values(runs, f"{when}/mse"), ".4f") for when in dead]
        counts = [spread(numbers, ".0f") for numbers in dead.values()]
        rows.append((label, *counts, f"{max(dead['after']):.0f}", *mse))
    if not rows:
        return []
    head = ("Code", "Dead before", "Dead after", "Most after", "MSE before", "MSE after")
    text = (folder / "dead_units.md").read_text(encoding="utf-8")
    return ["## Dead units\n", text, *table(head, rows), ""]


def target_rows(folder: Path) -> list[Row]:
    """Each target that has run: what three trainings reached, beside the search there."""
    return [
        target_row(data_set, units, load_target(folder, data_set, units, target))
        for data_set in DATA_SETS
        for units in WIDTHS
        for target in TARGETS
        if (folder / f"{target_name(data_set, units, target)}.json").is_file()
    ]


def target_row(data_set: str, units: int, outcome: Outcome) -> Row:
    """One line of it. The MSE of the search is the least of its trainings at the activity."""
    target = outcome["target"]
    activity, beta, mse = (
        [row[name] for row in outcome["with_target"]] for name in ("activity", "beta", "mse")
    )
    there = [row for row in outcome["search"] if is_at_target(row["activity"], target)]
    search, verdicts = "not reached", [all(is_at_target(q, target) for q in activity)]
    if there:
        best = min(there, key=lambda row: row["mse"])
        above = statistics.mean(mse) / best["mse"] - 1
        search = f"{best['mse']:.4f} (rho {best['rho']:.3g}): {above:+.1%}"
        verdicts.append(above <= TOLERANCE)
    return (
        data_set,
        str(units),
        f"{target:g}",
        spread(activity, ".4f"),
        spread(beta, ".2g"),
        spread(mse, ".4f"),
        search,
        ", ".join("yes" if verdict else "no" for verdict in verdicts),
    )


def preset_rows(folder: Path) -> list[Row]:
    """The presets that have no published number."""
    rows: list[Row] = []
    for name, claim in CLAIMS.items():
        (outcome,) = load(folder, name)
        test = outcome["metrics"]["test"]
        rows.append(
            (
                f"`{name}`",
                claim,
                f"{test['mse']:.4f}",
                f"{test['fvu']:.2f}",
                f"{test.get('l0_at_0', UNITS.get(name, 0)):.1f}",
                f"{test['l0_at_0.1']:.1f}",
                f"{test['gini']:.2f}",
                percent([outcome["metrics"]["test"]["probe"]]),
            )
        )
    return rows


def spread(numbers: Sequence[float], form: str) -> str:
    """Mean and standard deviation in the format `form`; a single value by itself.

    >>> spread([1.0, 2.0, 3.0], ".1f"), spread([2.5], ".1f")
    ('2.0 ± 1.0', '2.5')
    """
    if len(numbers) == 1:
        return f"{numbers[0]:{form}}"
    return f"{statistics.mean(numbers):{form}} ± {statistics.stdev(numbers):{form}}"


def percent(shares: Sequence[float]) -> str:
    """Mean and standard deviation of shares, in percent."""
    return f"{spread([100 * share for share in shares], '.2f')} %"


def near(numbers: Sequence[float], published: float, tolerance: float) -> str:
    """Whether every seed lies within a share of the published value."""
    worst = max(numbers, key=lambda value: abs(value - published))
    inside = abs(worst - published) <= tolerance * published
    return f"{'yes' if inside else 'no'}: every seed within {abs(worst / published - 1):.1%}"


def reached(numbers: Sequence[float], published: float) -> str:
    """Whether the mean is at least the published value."""
    short = published - statistics.mean(numbers)
    return "yes" if short <= 0 else f"no: {100 * short:.2f} points short"


if __name__ == "__main__":
    main()
