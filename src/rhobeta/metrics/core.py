"""The core metrics of a model: reconstruction, sparsity and linear probe, beside the baselines."""

import math
from typing import Any

import torch

from rhobeta.config.sections import EvaluateParams
from rhobeta.metrics.baselines import reconstruction_baselines
from rhobeta.metrics.downstream.tasks import EvaluationData
from rhobeta.metrics.encoding import Encoded, codes_of
from rhobeta.metrics.probe import Labels, Representation, probe_accuracies
from rhobeta.metrics.reconstruction import ReconstructionAccumulator
from rhobeta.metrics.sparsity import SparsityAccumulator, SparsityStatistics
from rhobeta.model.autoencoder import Autoencoder

Metrics = dict[str, dict[str, Any]]
"""Numbers and verdicts by section, as in `reports/details.json`."""


def core_metrics(
    data: EvaluationData,
    encoded: Encoded,
    statistics: SparsityStatistics,
    settings: EvaluateParams,
    *,
    rho: float | None,
) -> Metrics:
    """The sections `test`, `baselines` and `beats_baseline`.

    `encoded` is the test split, `statistics` its sparsity, `rho` the target of the mean activity.
    MSE is better where it is lower, accuracy where it is higher; equal is not better. Beside PCA
    with as many components as the code has units stands PCA with as many as units are active for
    an image, the mean above the first threshold, rounded, at least one and at most all. PSNR and
    clipped PCA are those of images, the probes those of data with labels.
    """
    train, test = data.pixels.train, data.pixels.test
    images = data.model.architecture.is_image
    reconstruction = ReconstructionAccumulator(torch.from_numpy(train.mean(0, dtype=float)))
    reconstruction.update(torch.from_numpy(test), torch.from_numpy(encoded.reconstruction))
    quality = reconstruction.quality()
    units = data.model.architecture.units
    active = max(1, round(statistics.l0[settings.l0_thresholds[0]]))
    active = min(active, data.baselines.pca.components)
    baselines = {
        "mean_image": data.baselines.mean_image_mse,
        **reconstruction_baselines(
            data.baselines.pca, test, components=units, active=active, images=images
        ),
    }
    metrics: Metrics = {
        "test": {
            "mse": quality.mse,
            "fvu": quality.fvu,
            **({"psnr_db": quality.psnr_db} if images else {}),
            **statistics.as_metrics(rho),
        },
        "baselines": {
            **{f"{name}_mse": mse for name, mse in baselines.items()},
            "pca_active_components": active,
        },
        "beats_baseline": {name: quality.mse < mse for name, mse in baselines.items()},
    }
    if data.labels is None:
        return metrics
    for section, values in _probe_metrics(data, data.labels, settings).items():
        metrics[section] |= values
    return metrics


def _probe_metrics(data: EvaluationData, labels: Labels, settings: EvaluateParams) -> Metrics:
    """What the linear probe adds to each section.

    The random encoder is the model before training, with weights that `settings.seed` draws.
    """
    untrained = Autoencoder(data.model.architecture, seed=settings.seed)
    random = Representation(*(codes_of(untrained, x, k=settings.probe_k) for x in data.pixels))
    representations = data.representations | {"random": random}
    accuracies = probe_accuracies(
        ((features, labels) for features in representations.values()),
        inverse_penalties=settings.probe_penalty,
    )
    accuracy = dict(zip(representations, accuracies, strict=True))
    if data.baselines.pixel_probe is None:
        raise ValueError("baselines without a probe for data with labels")
    rivals = {
        "pixel_probe": data.baselines.pixel_probe,
        "pca_probe": accuracy["pca"],
        "random_probe": accuracy["random"],
    }
    return {
        "test": {"probe": accuracy["code"]},
        "baselines": rivals,
        "beats_baseline": {name: accuracy["code"] > rival for name, rival in rivals.items()},
    }


def with_null(metrics: Metrics) -> Metrics:
    """The metrics with None in place of infinity and NaN: JSON's null for what is not defined.

    >>> with_null({"test": {"mse": 0.0, "psnr_db": math.inf}})
    {'test': {'mse': 0.0, 'psnr_db': None}}
    """
    return {
        section: {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }
        for section, values in metrics.items()
    }


def headline(metrics: Metrics) -> dict[str, float]:
    """The few numbers that tell experiments apart, by their names in MLflow.

    L0 is that above 0.1, in which most experiments can be compared, or above the first threshold.
    Data without labels has no probe.

    >>> test = {"mse": 0.1, "fvu": 0.2, "l0_at_0.5": 3.0, "gini": 0.8, "probe": 0.9}
    >>> headline({"test": test})
    {'test/mse': 0.1, 'test/fvu': 0.2, 'test/l0_at_0.5': 3.0, 'test/probe': 0.9}
    """
    test = metrics["test"]
    l0 = [name for name in test if name.startswith("l0_at_")]
    names = ("mse", "fvu", "l0_at_0.1" if "l0_at_0.1" in l0 else l0[0], "probe")
    return {f"test/{name}": test[name] for name in names if name in test}


def sparsity_statistics(encoded: Encoded, settings: EvaluateParams) -> SparsityStatistics:
    """Sparsity statistics of an encoded split."""
    sparsity = SparsityAccumulator(
        l0_thresholds=settings.l0_thresholds,
        dead_threshold=settings.dead_threshold,
        constant_std=settings.constant_std,
    )
    sparsity.update(torch.from_numpy(encoded.activity))
    return sparsity.statistics()
