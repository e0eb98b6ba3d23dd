"""What evaluate and visualize add to the run of the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rhobeta.data.splits import Manifest
from rhobeta.tracking.run import Run
from rhobeta.tracking.training_run import log_split

Metrics = Mapping[str, Mapping[str, Any]]


def log_evaluation(
    run: Run, metrics: Metrics, params: Mapping[str, Any], manifest: Manifest, file: Path
) -> None:
    """Log the metrics (`test/mse`, `denoising/code@0.1`, ...), the test split, a description."""
    run.log_params(params)
    log_split(run, manifest, "test", "evaluation")
    run.log_metrics(_flat(metrics))
    run.set_tags({"mlflow.note.content": describe(metrics)})
    run.log_file(file)
    run.settle()


def log_visualization(
    run: Run, params: Mapping[str, Any], figures: Path, pages: Iterable[Path]
) -> None:
    """Log the figures and the HTML pages."""
    run.log_params(params)
    run.log_files(figures, "figures")
    for page in pages:
        run.log_file(page)
    run.settle()


def describe(metrics: Metrics) -> str:
    """The key numbers in a few words of Markdown, for the run's page."""
    reconstruction, sparsity = metrics["reconstruction"], metrics["sparsity"]
    probe, floors = metrics["probe"], metrics["floors"]
    active = ", ".join(
        f"{value:.1f} above {name.removeprefix('l0@')}"
        for name, value in sparsity.items()
        if name.startswith("l0@")
    )
    return "\n".join(
        [
            f"**Test MSE {reconstruction['mse']:.5f}** (FVU {reconstruction['fvu']:.3f});"
            f" PCA {floors['pca_mse']:.5f}, mean image {floors['mean_image_mse']:.5f}.",
            "",
            f"Mean activation {sparsity['rho_hat_mean']:.4f}; units active per image: {active};"
            f" {sparsity['dead_units']:.0f} dead.",
            "",
            f"Linear probe {probe['code_accuracy']:.2%}; on raw pixels"
            f" {probe['pixel_accuracy']:.2%}.",
        ]
    )


# Sections of the metrics, and the prefix under which MLflow shows them. Verdicts are left out.
_PREFIXES = {
    "reconstruction": "test",
    "sparsity": "test",
    "probe": "probe",
    "floors": "floor",
    "sparse_probe": "sparse_probe",
    "few_labels": "few_labels",
    "denoising": "denoising",
    "anomaly": "anomaly",
    "compression": "compression",
}


def _flat(metrics: Metrics) -> dict[str, float]:
    return {
        f"{prefix}/{name}": float(value)
        for section, prefix in _PREFIXES.items()
        for name, value in metrics.get(section, {}).items()
        if value is not None
    }
