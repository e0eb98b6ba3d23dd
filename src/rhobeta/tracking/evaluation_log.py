"""Logging of `evaluate` and `visualize` into the run of the model."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rhobeta.data.splits import Manifest
from rhobeta.tracking.report_copy import with_provenance
from rhobeta.tracking.run import Run, latest_parameters
from rhobeta.tracking.tags import COMMAND_TAG, EVALUATION_TAG, NOTE_TAG, REPORT_TAG
from rhobeta.tracking.training_run import describe, log_split
from rhobeta.tracking.view import SECONDS, run_page
from rhobeta.utils.files import sha256_of_file

Metrics = Mapping[str, Mapping[str, Any]]


def log_evaluation(
    run: Run, metrics: Metrics, params: Mapping[str, Any], manifest: Manifest | None, file: Path
) -> None:
    """Log the metrics (`test/mse`, `denoising/code_at_0.1`, ...), the test split, a description.

    `file` holds the metrics; its digest becomes a tag, which says that the run has them. Metrics
    are linked to the run's model and to the test split; without a `manifest` to neither.
    """
    run.log_params(params)
    if manifest is None:
        run.log_metrics(flat_metrics(metrics))
    else:
        name = log_split(run, manifest, "test", "evaluation")
        run.log_measured(flat_metrics(metrics), dataset=name, digest=manifest.digest("test"))
    run.log_file(file)
    run.set_tags({EVALUATION_TAG: sha256_of_file(file)} | _note(run, metrics))
    run.complete()


def log_visualization(
    run: Run, params: Mapping[str, Any], figures: Path, report: Path, pages: Iterable[Path] = ()
) -> None:
    """Log the figures, the report with the run's provenance, and other pages.

    The digest of `report` becomes a tag, which says that the run has it.
    """
    run.log_params(params)
    for page in (figures, *pages):
        run.log_file(page)
    found = run.read()
    if found is None:
        run.log_file(report)
    else:
        run.log_text(with_provenance(report.read_text(encoding="utf-8"), found), report.name)
    run.set_tags({REPORT_TAG: sha256_of_file(report)})
    run.complete()


def log_seconds(run: Run, stage: str) -> None:
    """Log how long a stage has worked on the run, and the sum of all stages from the training on.

    The sum is left out where the run does not know the earlier stages.
    """
    found, stages = run.read(), ("train", "evaluate", "visualize")
    known = {} if found is None else {k: found.data.metrics.get(f"{SECONDS}{k}") for k in stages}
    known[stage] = seconds = run.seconds()
    parts = [known.get(name) for name in stages[: stages.index(stage) + 1]]
    total = {} if None in parts else {f"{SECONDS}total": sum(filter(None, parts))}
    run.log_metrics({f"{SECONDS}{stage}": seconds, **total})


def _note(run: Run, metrics: Metrics) -> dict[str, str]:
    """The run's description with the results; none while its store does not answer."""
    found = run.read()
    if found is None or "penalty.kind" not in found.data.params:
        return {}
    pages = {
        "Report": "/artifacts/report.html",
        "unit dashboard": "/artifacts/dashboard.html",
        "curves": "/model-metrics",
    }
    links = " · ".join(
        f"[{words}]({run_page(found.info.experiment_id, run.run_id, part)})"
        for words, part in pages.items()
    )
    command = found.data.tags.get(COMMAND_TAG)
    text = describe(latest_parameters(found), command, in_words(metrics), f"{links}.")
    return {NOTE_TAG: text}


def in_words(metrics: Metrics) -> str:
    """The key numbers in a few words."""
    test, baselines = metrics["test"], metrics["baselines"]
    active = ", ".join(
        f"{value:.1f} above {name.removeprefix('l0_at_')}"
        for name, value in test.items()
        if name.startswith("l0_at_")
    )
    if "psnr_db" in test:
        error = f"**Test MSE {test['mse']:.5f}** (PCA {baselines['pca_mse']:.5f})"
    else:
        # The MSE of vectors is in the units of the data.
        whole, fvu = baselines["mean_image_mse"], test["fvu"]
        pca = f"{baselines['pca_mse'] / whole:.4f}" if whole else "not defined"
        error = f"**Test FVU {'not defined' if fvu is None else f'{fvu:.4f}'}** (PCA {pca})"
    probe = ""
    if "probe" in test:
        raw = "pixels" if "psnr_db" in test else "features"
        probe = f" probe {test['probe']:.2%} ({raw} {baselines['pixel_probe']:.2%}),"
    return f"{error},{probe} active units {active}, {test['dead_units']:.0f} dead."


def flat_metrics(metrics: Metrics) -> dict[str, float]:
    """The numbers of `details.json` as `section/name`, without verdicts and undefined values."""
    return {
        f"{section}/{name}": float(value)
        for section, values in metrics.items()
        if section != "beats_baseline"
        for name, value in values.items()
        if value is not None
    }
