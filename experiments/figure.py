"""The figures of the reproductions: reconstruction by active units, and control of a target."""

import statistics
from pathlib import Path

from experiments.outcome import (
    MATCHED,
    MATCHED_L0,
    PENALTIES,
    load,
    load_baselines,
    load_target,
    values,
)
from rhobeta.reporting.style import BLUE, GREEN, GREY, ORANGE, save, style

MSE_TICKS = (0.01, 0.02, 0.04, 0.08)
COLOURS = {"kl": BLUE, "l1": ORANGE, "topk": GREEN}


def draw(outcomes: Path, path: Path) -> None:
    """Test MSE of each code cut to its most active units, beside PCA."""
    baselines = load_baselines(outcomes)
    with style():
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True)
        for axis, (units, names) in zip(axes, MATCHED.items(), strict=True):
            for name in names:
                kind = name.partition("-")[0]
                runs = load(outcomes, name)
                kept = [int(count) for count in runs[0]["truncated_mse"]]
                mse = [values(runs, f"truncated_mse/{k}") for k in kept]
                means, errors = map(statistics.mean, mse), map(statistics.stdev, mse)
                axis.errorbar(
                    kept,
                    list(means),
                    list(errors),
                    marker="o",
                    color=COLOURS[kind],
                    label=PENALTIES[kind],
                )
            components = [int(count) for count in baselines if int(count) <= max(kept)]
            axis.plot(
                components,
                [baselines[str(c)] for c in components],
                color=GREY,
                linestyle="--",
                marker="s",
                label="PCA, as many components",
            )
            axis.axvline(int(MATCHED_L0[units]), color=GREY, linestyle=":", linewidth=1)
            axis.set(
                title=f"{units:,} units",
                xlabel="most active units left in the code",
                xscale="log",
                yscale="log",
                xticks=kept,
                xticklabels=[str(k) for k in kept],
                yticks=MSE_TICKS,
                yticklabels=[f"{tick:g}" for tick in MSE_TICKS],
            )
            axis.minorticks_off()
        axes[0].set_ylabel("test MSE")
        axes[1].legend()
        save(figure, path, 120)


def draw_control(outcomes: Path, path: Path) -> None:
    """Mean activation and beta by epoch, in one training with the target 0.05."""
    outcome = load_target(outcomes, "mnist", 64, 0.05)
    epochs = range(1, len(outcome["epochs"]) + 1)
    with style():
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.2))
        for axis, name, label in zip(
            axes, ("activity", "beta"), ("mean activation", "beta"), strict=True
        ):
            numbers = [epoch[name] for epoch in outcome["epochs"]]
            axis.plot(epochs, numbers, color=BLUE, marker="o")
            axis.set(xlabel="epoch", ylabel=label, yscale="log")
        axes[0].axhline(outcome["target"], color=GREY, linestyle="--", label="target")
        axes[0].legend()
        save(figure, path, 120)
