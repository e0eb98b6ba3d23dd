"""Logging of `evaluate` and `visualize` into the run of the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rhobeta.data.splits import Manifest
from rhobeta.tracking.run import Run
from rhobeta.tracking.tags import EVALUATION_TAG, NOTE_TAG, REPORT_TAG
from rhobeta.tracking.training_run import log_split
from rhobeta.utils.files import sha256_of_file

Metrics = Mapping[str, Mapping[str, Any]]


def log_evaluation(
    run: Run, metrics: Metrics, params: Mapping[str, Any], manifest: Manifest | None, file: Path
) -> None:
    """Log the metrics (`test/mse`, `denoising/code_at_0.1`, ...), the test split, a description.

    `file` holds the metrics; its digest becomes a tag, which says that the run has them. Without a
    `manifest` the split is left out.
    """
    run.log_params(params)
    if manifest is not None:
        log_split(run, manifest, "test", "evaluation")
    run.log_metrics(flat_metrics(metrics))
    run.log_file(file)
    run.set_tags({NOTE_TAG: describe(metrics), EVALUATION_TAG: sha256_of_file(file)})
    run.complete()


def log_visualization(
    run: Run, params: Mapping[str, Any], figures: Path, report: Path, pages: Iterable[Path] = ()
) -> None:
    """Log the figures, the report and other pages; the report's digest becomes a tag."""
    run.log_params(params)
    for page in (figures, report, *pages):
        run.log_file(page)
    run.set_tags({REPORT_TAG: sha256_of_file(report)})
    run.complete()


def describe(metrics: Metrics) -> str:
    """The key numbers in a few words of Markdown, for the run's page."""
    test, baselines = metrics["test"], metrics["baselines"]
    active = ", ".join(
        f"{value:.1f} above {name.removeprefix('l0_at_')}"
        for name, value in test.items()
        if name.startswith("l0_at_")
    )
    return "\n".join(
        [
            f"**Test MSE {test['mse']:.5f}** (FVU {test['fvu']:.3f});"
            f" PCA {baselines['pca_mse']:.5f}, mean image {baselines['mean_image_mse']:.5f}.",
            "",
            f"Mean activation {test['rho_hat_mean']:.4f}; units active per image: {active};"
            f" {test['dead_units']:.0f} dead.",
            "",
            f"Linear probe {test['probe']:.2%}; on raw pixels {baselines['pixel_probe']:.2%}.",
        ]
    )


def flat_metrics(metrics: Metrics) -> dict[str, float]:
    """The numbers of `details.json` as `section/name`, without verdicts and undefined values."""
    return {
        f"{section}/{name}": float(value)
        for section, values in metrics.items()
        if section != "beats_baseline"
        for name, value in values.items()
        if value is not None
    }
