"""The uses that a code is claimed to have, each scored beside its simple rival.

Everything is fitted on the training images and scored on the test images. A use gives one section
of the metrics and its verdicts; what the numbers mean stands in the module of each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from rhobeta.metrics.anomaly import auroc, code_scores, pixel_scores
from rhobeta.metrics.compression import (
    RatePoint,
    bits_for,
    decoded_mse,
    jpeg_curve,
    operating_point,
    quantised_curve,
)
from rhobeta.metrics.denoising import denoising_quality
from rhobeta.metrics.encoding import encode_images
from rhobeta.metrics.few_labels import Representation, few_label_accuracies
from rhobeta.metrics.linear import PrincipalComponents
from rhobeta.metrics.sparse_probe import sparse_probe_accuracies
from rhobeta.model.autoencoder import Autoencoder

Features = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class TaskSettings:
    """The parameters of `evaluate` that the uses take, under the same names."""

    sparse_probe_units: Sequence[int]
    few_labels: Sequence[int]
    noise: Sequence[float]
    normal_classes: Sequence[int] | None
    seed: int
    probe_penalty: float
    probe_iterations: int


@dataclass(frozen=True)
class EvaluationData:
    """A model, and both splits as it and its rivals see them."""

    model: Autoencoder
    pca: PrincipalComponents
    """Fitted on the training images."""
    train_labels: Labels
    test_labels: Labels
    code: Representation
    features: Representation
    """The code where classifiers take it in: of a topk code, perhaps with more units active."""
    pca_code: Representation
    """Coefficients of as many components as the code has units."""
    pixels: Representation
    """In [0, 1]."""

    @property
    def representations(self) -> dict[str, Representation]:
        """By the name that the metrics use."""
        return {"code": self.features, "pca": self.pca_code, "pixels": self.pixels}


@dataclass(frozen=True)
class TaskScores:
    """What one use comes to."""

    metrics: dict[str, float | None]
    beats_baseline: dict[str, bool]
    curves: dict[str, list[RatePoint]] = field(default_factory=dict)
    """Rate and distortion by coder; of compression alone."""


def score_task(name: str, material: EvaluationData, settings: TaskSettings) -> TaskScores:
    """Score the use `name`, one of `TASKS`."""
    from threadpoolctl import threadpool_limits

    # Many small products: threads that wait for one another, in two copies of BLAS, cost more than
    # they bring, and tens of times more where another process wants the cores.
    with threadpool_limits(1):
        return TASKS[name](material, settings)


def _sparse_probe(material: EvaluationData, settings: TaskSettings) -> TaskScores:
    accuracies = {
        name: sparse_probe_accuracies(
            train,
            material.train_labels,
            test,
            material.test_labels,
            units=settings.sparse_probe_units,
            inverse_penalty=settings.probe_penalty,
            seed=settings.seed,
        )
        for name, (train, test) in material.representations.items()
    }
    return _accuracies("sparse_probe", accuracies, settings.sparse_probe_units[-1])


def _few_labels(material: EvaluationData, settings: TaskSettings) -> TaskScores:
    accuracies = few_label_accuracies(
        material.representations,
        material.train_labels,
        material.test_labels,
        labels_per_class=settings.few_labels,
        inverse_penalty=settings.probe_penalty,
        iterations=settings.probe_iterations,
        seed=settings.seed,
    )
    return _accuracies("few_labels", accuracies, settings.few_labels[0])


def _accuracies(use: str, accuracies: dict[str, dict[int, float]], judged: int) -> TaskScores:
    """Scores by representation and setting, the verdicts at the setting `judged`."""
    return TaskScores(
        {f"{name}_at_{at}": value for name, by in accuracies.items() for at, value in by.items()},
        {
            f"{use}_{rival}": accuracies["code"][judged] > accuracies[rival][judged]
            for rival in ("pca", "pixels")
        },
    )


def _denoising(material: EvaluationData, settings: TaskSettings) -> TaskScores:
    def reconstruct(noisy: Features) -> Features:
        return encode_images(material.model, noisy).reconstruction

    quality = denoising_quality(
        reconstruct, material.pca, material.pixels[1], noise=settings.noise, seed=settings.seed
    )
    metrics: dict[str, float | None] = {}
    for sigma, psnr in quality.items():
        metrics |= {
            f"code_at_{sigma:g}": psnr.model,
            f"wiener_at_{sigma:g}": psnr.wiener,
            f"noisy_at_{sigma:g}": psnr.noisy,
        }
    middle = quality[settings.noise[len(settings.noise) // 2]]
    return TaskScores(metrics, {"wiener": middle.model > middle.wiener})


def _anomaly(material: EvaluationData, settings: TaskSettings) -> TaskScores:
    if settings.normal_classes is None:
        # An AUROC needs normal images in the test split as well.
        present = np.intersect1d(material.train_labels, material.test_labels)
        groups = [[label] for label in present.tolist()]
    else:
        groups = [sorted(settings.normal_classes)]
    scorers = {"code": (code_scores, material.code), "pca": (pixel_scores, material.pixels)}
    metrics: dict[str, float | None] = {}
    means = {}
    for name, (score, (train, test)) in scorers.items():
        single = {}
        for group in groups:
            scores = score(train[np.isin(material.train_labels, group)], test)
            at = "_".join(map(str, group))
            single[f"{name}_auroc_at_{at}"] = auroc(scores, material.test_labels, group)
        means[name] = float(np.mean(list(single.values())))
        metrics |= {f"{name}_auroc": means[name], **single}
    return TaskScores(metrics, {"anomaly_pca": means["code"] > means["pca"]})


def _compression(material: EvaluationData, settings: TaskSettings) -> TaskScores:
    pixels = material.pixels[1]

    def decode(code: Features) -> Features:
        with torch.inference_mode():
            return material.model.decode(torch.from_numpy(code)).numpy()

    unquantised = decoded_mse(material.code[1], decode, pixels)
    curves = {
        "code": quantised_curve(*material.code, decode, pixels),
        "pca": quantised_curve(*material.pca_code, material.pca.rebuilt, pixels),
        "jpeg": jpeg_curve(pixels, material.model.architecture.image_shape, seed=settings.seed),
    }
    bits, mse = operating_point(curves["code"], unquantised)
    rivals = {name: bits_for(curves[name], mse) for name in ("pca", "jpeg")}
    metrics = {
        "code_bits": bits,
        "mse": mse,
        "pca_bits": rivals["pca"],
        "jpeg_bits": rivals["jpeg"],
    }
    return TaskScores(
        metrics,
        {f"compression_{name}": at is None or bits < at for name, at in rivals.items()},
        curves,
    )


TASKS: dict[str, Callable[[EvaluationData, TaskSettings], TaskScores]] = {
    "sparse_probe": _sparse_probe,
    "few_labels": _few_labels,
    "denoising": _denoising,
    "anomaly": _anomaly,
    "compression": _compression,
}
