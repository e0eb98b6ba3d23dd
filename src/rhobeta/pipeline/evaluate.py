"""Stage 4: measure the model on the test split, beside the baselines."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.config.params import Params, flatten
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.data.splits import Manifest, SplitName, read_manifest, read_split
from rhobeta.metrics.core import core_metrics, headline, sparsity_statistics, with_null
from rhobeta.metrics.data_baselines import labels_of, read_baselines, rows_to_fit
from rhobeta.metrics.downstream.compression import RatePoint
from rhobeta.metrics.downstream.tasks import TASKS, EvaluationData, scorable, score_task
from rhobeta.metrics.encoding import Encoded, encode_images
from rhobeta.metrics.evaluation import TestRecord, evaluated_files, example_rows
from rhobeta.metrics.probe import Representation
from rhobeta.metrics.reconstruction import feature_mse
from rhobeta.metrics.sparsity import SparsityStatistics
from rhobeta.metrics.units import MOST_UNITS, exciting_rows, most_active_units
from rhobeta.model.model_file import read_model, require_same_data
from rhobeta.paths import Paths
from rhobeta.tracking.backfill import run_of_model
from rhobeta.tracking.evaluation_log import log_evaluation, log_seconds
from rhobeta.utils.files import write_bytes, write_json, write_text
from rhobeta.utils.threads import one_thread


@one_thread()
def run(params: Params, paths: Paths) -> None:
    """Write the metrics, the tables that DVC draws and what visualize needs; log the metrics."""
    saved = read_model(paths.model)
    manifest = read_manifest(paths.splits)
    require_same_data(saved, manifest, paths.model)
    settings = scorable(params.evaluate, manifest)
    baselines = read_baselines(paths, settings, manifest.sha256)
    threshold = settings.l0_thresholds[0]
    train = _fitted_rows(paths, "train", manifest, settings.seed)
    validation = _fitted_rows(paths, "validation", manifest, settings.seed)
    test = read_split(paths.splits, "test", manifest)
    pixels = Representation(*(pixels_of(split.values) for split in (train, validation, test)))
    tracked = run_of_model(paths, params.runtime.experiment, saved, example=pixels.train[:2])

    encoded = encode_images(saved.model, pixels.test)
    statistics = sparsity_statistics(encoded, settings)
    units = saved.model.architecture.units
    data = EvaluationData.prepare(
        saved.model,
        pixels,
        labels_of(train, validation, test),
        encoded.code,
        baselines,
        probe_k=settings.probe_k,
    )
    if data.labels is not None:
        print(
            f"fitting the linear probe on the codes, on PCA with {units} components and on a random"
            " encoder",
            flush=True,
        )
    metrics = core_metrics(data, encoded, statistics, settings, rho=saved.rho)
    beats_baseline = metrics.pop("beats_baseline")
    curves: dict[str, list[RatePoint]] = {}
    for task in settings.tasks:
        print(f"scoring a task: {task.replace('_', ' ')}", flush=True)
        scores = score_task(task, data, settings)
        metrics[task] = scores.metrics
        beats_baseline |= TASKS[task].beats_baseline(scores.metrics)
        curves |= scores.curves
    metrics["beats_baseline"] = beats_baseline
    metrics = with_null(metrics)

    write_text(paths.rate_distortion, _rate_table(curves))
    write_json(paths.details, metrics)
    write_json(paths.metrics, headline(metrics))
    write_text(paths.unit_activity, _unit_table(statistics, saved.rho))
    l0_counts = statistics.l0_counts[threshold].numpy()
    write_text(paths.l0_distribution, _csv(("active_units", "images"), enumerate(l0_counts)))
    record = _record(
        encoded, test, pixels.test, l0_counts, threshold, evaluated_files(saved.sha256, paths)
    )
    write_bytes(paths.evaluation, record.to_bytes())
    parameters = flatten(params.evaluate, "evaluate.")
    log_seconds(tracked, "evaluate")
    log_evaluation(tracked, metrics, parameters, manifest, paths.details)


def _fitted_rows(paths: Paths, name: SplitName, manifest: Manifest, seed: int) -> Samples:
    """The rows of a split that probes and tasks are fitted on, or choose by."""
    split = read_split(paths.splits, name, manifest)
    rows = rows_to_fit(len(split), math.prod(manifest.sample_shape), seed=seed)
    return split if rows is None else split.take(rows)


def _record(
    encoded: Encoded,
    test: Samples,
    x: NDArray[np.float32],
    l0_counts: NDArray[np.int64],
    threshold: float,
    belongs_to: dict[str, str],
) -> TestRecord:
    shown = example_rows(test.labels, len(test))
    top_units = most_active_units(encoded.activity, count=MOST_UNITS)
    activity = encoded.activity[:, top_units]
    return TestRecord(
        activity=encoded.activity,
        examples=shown,
        reconstructions=encoded.reconstruction[shown],
        feature_mse=feature_mse(x, encoded.reconstruction),
        l0_counts=l0_counts,
        l0_threshold=np.array([threshold]),
        top_units=top_units,
        top_rows=exciting_rows(activity, threshold=threshold),
        belongs_to=belongs_to,
    )


def _unit_table(statistics: SparsityStatistics, rho: float | None) -> str:
    ordered = statistics.mean_activity.sort(descending=True, stable=True).values.tolist()
    rows = ((rank, f"{mean:.9g}", rho) for rank, mean in enumerate(ordered, start=1))
    return _csv(("rank", "mean_activity", "rho"), rows)


def _rate_table(curves: Mapping[str, Sequence[RatePoint]]) -> str:
    rows = (
        (coder, f"{point.bits:.9g}", f"{point.mse:.9g}")
        for coder, curve in curves.items()
        for point in sorted(curve)
    )
    return _csv(("coder", "bits", "mse"), rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
