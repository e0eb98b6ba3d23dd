"""The table of core results, each beside its baseline with a verdict, for report and terminal."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of a table of results."""

    name: str
    value: str
    baseline: str
    verdict: str
    meaning: str


def result_rows(metrics: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The table of core results, each beside its baseline with a verdict."""
    test, probe = metrics["test"], metrics["probe"]
    baselines, beats = metrics["baselines"], metrics["beats_baseline"]
    mse = f"{test['mse']:.5f}"

    def against(baseline: str, name: str, meaning: str) -> Row:
        return Row(
            f"MSE against {name}",
            mse,
            f"{baselines[f'{baseline}_mse']:.5f}",
            verdict(beats[baseline]),
            meaning,
        )

    rows = [
        against("mean_image", "the mean image", "squared error per pixel; lower is better"),
        against("pca", "PCA of the same size", "the best linear code with as many numbers"),
        against("pca_clipped", "PCA clipped to [0, 1]", "the same, helped to stay in range"),
        Row("FVU", f"{test['fvu']:.3f}", "1", "", "share of the variance not explained"),
        Row("PSNR", f"{test['psnr_db']:.2f} dB", "", "", "higher is better"),
        Row(
            "Linear probe",
            f"{probe['code_accuracy']:.2%}",
            f"{probe['pixel_accuracy']:.2%}",
            verdict(beats["pixel_probe"]),
            "accuracy of a linear classifier on the code; beside it, on raw pixels",
        ),
        Row(
            "Mean activation",
            f"{test['rho_hat_mean']:.4f}",
            f"target {rho:g}" if (rho := test.get("rho_target")) is not None else "",
            "",
            f"mean over units; they range from {test['rho_hat_min']:.4f} to"
            f" {test['rho_hat_max']:.4f}",
        ),
    ]
    rows += [
        Row(
            f"L0 above {name.removeprefix('l0_at_')}",
            f"{value:.1f}",
            "",
            "",
            "active units per image",
        )
        for name, value in test.items()
        if name.startswith("l0_at_")
    ]
    rows += [
        Row("Gini", f"{test['gini']:.3f}", "", "", "0 is an even code, towards 1 a sparse one"),
        Row("Hoyer", f"{test['hoyer']:.3f}", "", "", "0 is an even code, 1 one active unit"),
        Row(
            "Treves-Rolls",
            f"{test['treves_rolls']:.3f}",
            "",
            "",
            "1 is an even code, towards 0 a sparse one",
        ),
        Row(
            "Dead, constant, saturated units",
            f"{test['dead_units']}, {test['constant_units']}, {test['saturated_units']}",
            "0, 0, 0",
            "",
            "units that never rise, never change, never rest",
        ),
    ]
    return rows


def verdict(beats: bool) -> str:
    """Whether a baseline is beaten, in words."""
    return "beats it" if beats else "does not beat it"
