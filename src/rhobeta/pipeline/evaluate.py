"""Stage 4: measure the model on the test split, beside the baselines."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from rhobeta.config.params import Params, flatten
from rhobeta.config.sections import EvaluateParams
from rhobeta.data.batches import pixels_of
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.metrics.baselines import reconstruction_baselines
from rhobeta.metrics.compression import RatePoint
from rhobeta.metrics.encoding import codes_of, encode_images
from rhobeta.metrics.evaluation import TestRecord, first_of_each_class
from rhobeta.metrics.linear import PrincipalComponents
from rhobeta.metrics.measured import digests_of_measured
from rhobeta.metrics.probe import probe_accuracy
from rhobeta.metrics.reconstruction import ReconstructionAccumulator
from rhobeta.metrics.sparsity import SparsityAccumulator, SparsityStatistics
from rhobeta.metrics.task_settings import require_scorable, task_settings
from rhobeta.metrics.tasks import EvaluationData, score_task
from rhobeta.metrics.top_images import MOST_UNITS, exciting_images, most_active_units
from rhobeta.model.model_file import read_model, require_same_data
from rhobeta.paths import Paths
from rhobeta.tracking.backfill import run_of_model
from rhobeta.tracking.evaluation_log import log_evaluation
from rhobeta.utils.files import write_bytes, write_json, write_text
from rhobeta.utils.threads import use_threads


def run(params: Params, paths: Paths) -> None:
    """Write the metrics, the tables that DVC draws, and what visualize needs; log the metrics."""
    saved = read_model(paths.model)
    manifest = read_manifest(paths.splits)
    require_same_data(saved, manifest, paths.model)
    settings = params.evaluate
    require_scorable(settings, manifest)
    train = read_split(paths.splits, "train", manifest)
    test = read_split(paths.splits, "test", manifest)
    train_pixels, test_pixels = pixels_of(train.images), pixels_of(test.images)
    tracked = run_of_model(paths, params.runtime.experiment, saved, example=train_pixels[:2])
    use_threads(params.runtime.threads)

    encoded = encode_images(saved.model, test_pixels)

    print("measuring reconstruction and sparsity", flush=True)
    reconstruction = ReconstructionAccumulator(torch.from_numpy(train_pixels.mean(0, dtype=float)))
    reconstruction.update(torch.from_numpy(test_pixels), torch.from_numpy(encoded.reconstruction))
    quality = reconstruction.quality()
    sparsity = SparsityAccumulator(
        l0_thresholds=settings.l0_thresholds,
        dead_threshold=settings.dead_threshold,
        constant_std=settings.constant_std,
    )
    sparsity.update(torch.from_numpy(encoded.activity))
    statistics = sparsity.statistics()

    units = saved.model.architecture.units
    print(f"fitting the baselines: the mean image and PCA with {units} components", flush=True)
    pca = PrincipalComponents.fit(train_pixels)
    baselines = reconstruction_baselines(pca, test_pixels, components=units)

    code = (codes_of(saved.model, train_pixels), encoded.code)
    material = EvaluationData(
        saved.model,
        pca,
        train.labels,
        test.labels,
        code=code,
        features=code
        if settings.probe_k is None
        else (
            codes_of(saved.model, train_pixels, k=settings.probe_k),
            codes_of(saved.model, test_pixels, k=settings.probe_k),
        ),
        pca_code=(pca.coefficients(train_pixels, units), pca.coefficients(test_pixels, units)),
        pixels=(train_pixels, test_pixels),
    )
    print("fitting the linear probe on the codes, on PCA and on raw pixels", flush=True)
    probes = _probe_accuracies(material, settings)

    metrics: dict[str, dict[str, Any]] = {
        "test": {
            "mse": quality.mse,
            "fvu": quality.fvu,
            "psnr_db": quality.psnr_db,
            **statistics.as_metrics(saved.rho),
        },
        "probe": {
            "code_accuracy": probes["code"],
            "pixel_accuracy": probes["pixels"],
            "pca_accuracy": probes["pca"],
        },
        "baselines": {
            "mean_image_mse": baselines.mean_image,
            "pca_mse": baselines.pca,
            "pca_clipped_mse": baselines.pca_clipped,
        },
    }
    beats_baseline = {
        "mean_image": quality.mse < baselines.mean_image,
        "pca": quality.mse < baselines.pca,
        "pca_clipped": quality.mse < baselines.pca_clipped,
        "pixel_probe": probes["code"] > probes["pixels"],
        "pca_probe": probes["code"] > probes["pca"],
    }
    curves: dict[str, list[RatePoint]] = {}
    of_tasks = task_settings(settings, manifest)
    for task in settings.tasks:
        if task == "few_labels" and not of_tasks.few_labels:
            continue
        print(f"scoring a task: {task.replace('_', ' ')}", flush=True)
        scores = score_task(task, material, of_tasks)
        metrics[task] = scores.metrics
        beats_baseline |= scores.beats_baseline
        curves |= scores.curves
    metrics["beats_baseline"] = beats_baseline

    shown = first_of_each_class(test.labels)
    shape = (len(shown), *manifest.image_shape)
    top_units = most_active_units(encoded.activity, count=MOST_UNITS)
    write_text(paths.rate_distortion, _rate_table(curves))
    write_json(paths.metrics, metrics)
    record = TestRecord(
        activity=encoded.activity,
        labels=test.labels,
        examples=test_pixels[shown].reshape(shape),
        reconstructions=encoded.reconstruction[shown].reshape(shape),
        l0_counts=statistics.l0_counts[settings.l0_thresholds[0]].numpy(),
        l0_threshold=np.array(settings.l0_thresholds[:1]),
        top_units=top_units,
        top_images=exciting_images(
            encoded.activity[:, top_units], test.images, threshold=settings.l0_thresholds[0]
        ),
        belongs_to=digests_of_measured(saved.sha256, paths),
    )
    write_text(paths.unit_activity, _unit_table(statistics, saved.rho))
    write_text(paths.l0_distribution, _l0_table(record))
    write_bytes(paths.evaluation, record.to_bytes())
    log_evaluation(tracked, metrics, flatten(settings, "evaluate."), manifest, paths.metrics)


def _probe_accuracies(material: EvaluationData, settings: EvaluateParams) -> dict[str, float]:
    return {
        name: probe_accuracy(
            of_train,
            material.train_labels,
            of_test,
            material.test_labels,
            inverse_penalty=settings.probe_penalty,
            iterations=settings.probe_iterations,
        )
        for name, (of_train, of_test) in material.representations.items()
    }


def _unit_table(statistics: SparsityStatistics, rho: float | None) -> str:
    ordered = statistics.mean_activity.sort(descending=True).values.tolist()
    rows = ((rank, f"{mean:.9g}", rho) for rank, mean in enumerate(ordered, start=1))
    return _csv(("rank", "mean_activity", "rho"), rows)


def _l0_table(record: TestRecord) -> str:
    return _csv(("active_units", "images"), enumerate(record.l0_counts.tolist()))


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
