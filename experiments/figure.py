"""The figure of the reproductions: reconstruction by the number of units that speak."""

import json
import statistics
from pathlib import Path

from experiments.results import MATCHED, MATCHED_L0, PENALTIES, load
from rhobeta.reporting.style import BLUE, GREEN, GREY, ORANGE, save, style

MSE_TICKS = (0.01, 0.02, 0.04, 0.08)
COLOURS = {"kl": BLUE, "l1": ORANGE, "topk": GREEN}


def draw(outcomes: Path, path: Path) -> None:
    """Test MSE where only the most active units are left, for each code, with PCA beside."""
    baselines = json.loads((outcomes / "baselines.json").read_text())["pca_clipped_mse"]
    with style():
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True)
        for axis, (units, names) in zip(axes, MATCHED.items(), strict=True):
            for name in names:
                kind = name.partition("-")[0]
                runs = [outcome["truncated_mse"] for outcome in load(outcomes, name)]
                kept = [int(count) for count in runs[0]]
                means = [statistics.mean(run[str(k)] for run in runs) for k in kept]
                errors = [statistics.stdev(run[str(k)] for run in runs) for k in kept]
                axis.errorbar(
                    kept, means, errors, marker="o", color=COLOURS[kind], label=PENALTIES[kind]
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
