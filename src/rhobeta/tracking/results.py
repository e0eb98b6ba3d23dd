"""What evaluate and visualize add to the run of the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rhobeta.data.splits import Manifest
from rhobeta.tracking.run import Run
from rhobeta.tracking.tags import NOTE_TAG
from rhobeta.tracking.training_run import log_split
from rhobeta.utils.files import sha256_of_file

EVALUATION_TAG = "rhobeta.metrics_sha256"
"""The metrics.json that a run has the metrics of."""
REPORT_TAG = "rhobeta.report_sha256"
"""The report that a run has, with its figures."""

Metrics = Mapping[str, Mapping[str, Any]]


def log_evaluation(
    run: Run, metrics: Metrics, params: Mapping[str, Any], manifest: Manifest | None, file: Path
) -> None:
    """Log the metrics (`test/mse`, `denoising/code@0.1`, ...), the test split, a description.

    `file` is the one that holds the metrics; its digest says later that the run has them. Without
    a `manifest` the split is left out.
    """
    run.log_params(params)
    if manifest is not None:
        log_split(run, manifest, "test", "evaluation")
    run.log_metrics(flat_metrics(metrics))
    run.log_file(file)
    run.set_tags({NOTE_TAG: describe(metrics), EVALUATION_TAG: sha256_of_file(file)})
    run.settle()


def log_visualization(
    run: Run, params: Mapping[str, Any], figures: Path, report: Path, pages: Iterable[Path] = ()
) -> None:
    """Log the figures, the report and other pages; the report's digest says that the run has it."""
    run.log_params(params)
    run.log_files(figures, "figures")
    for page in (report, *pages):
        run.log_file(page)
    run.set_tags({REPORT_TAG: sha256_of_file(report)})
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


def flat_metrics(metrics: Metrics) -> dict[str, float]:
    """The numbers of `metrics.json` by the names that a run has them under."""
    return {
        f"{prefix}/{name}": float(value)
        for section, prefix in _PREFIXES.items()
        for name, value in metrics.get(section, {}).items()
        if value is not None
    }
