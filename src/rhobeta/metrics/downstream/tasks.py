"""The downstream tasks together: what each compares, and how it is scored.

Every task is fitted on the training samples and scored on the test samples. It gives one section of
the metrics and its verdicts in `beats_baseline`. `TASKS` says once which rivals a task has and at
which setting the verdicts are taken; scoring and reporting both follow it.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rhobeta.config.params import check_normal_classes
from rhobeta.config.sections import EvaluateParams
from rhobeta.data.splits import Manifest
from rhobeta.errors import RhobetaError
from rhobeta.metrics.data_baselines import DataBaselines, require_labels
from rhobeta.metrics.downstream.anomaly import aurocs, code_scores
from rhobeta.metrics.downstream.compression import (
    RatePoint,
    bits_for,
    decoded_mse,
    operating_point,
    quantised_curve,
)
from rhobeta.metrics.downstream.denoising import denoising_quality
from rhobeta.metrics.downstream.few_labels import few_label_accuracies
from rhobeta.metrics.downstream.sparse_probe import sparse_probe_accuracies
from rhobeta.metrics.encoding import codes_of, encode_images
from rhobeta.metrics.probe import Labels, Representation
from rhobeta.model.autoencoder import Autoencoder

Features = NDArray[np.float32]

NEED_LABELS = ("sparse_probe", "few_labels", "anomaly")
"""The tasks that tell classes apart."""
NEED_IMAGES = ("denoising",)
"""The tasks that assume values in [0, 1]."""


@dataclass(frozen=True)
class EvaluationData:
    """A model, and the splits as the model and its rivals see them."""

    model: Autoencoder
    baselines: DataBaselines
    labels: Labels | None
    """None: the data has none."""
    code: Representation
    features: Representation
    """The code as classifiers see it: a topk code may have more active units here."""
    pca_code: Representation
    """Coefficients of as many components as the code has units."""
    pixels: Representation
    """The samples themselves; images are in [0, 1]."""

    @classmethod
    def prepare(
        cls,
        model: Autoencoder,
        pixels: Representation,
        labels: Labels | None,
        test_code: Features,
        baselines: DataBaselines,
        *,
        probe_k: int | None,
    ) -> "EvaluationData":
        """Encode the training and validation samples.

        `test_code` are the codes of the test samples. `probe_k` is the number of active units of a
        topk code as features.
        """
        units, pca = model.architecture.units, baselines.pca
        code = Representation(
            codes_of(model, pixels.train), codes_of(model, pixels.validation), test_code
        )
        return cls(
            model,
            baselines,
            labels,
            code=code,
            features=code
            if probe_k is None
            else Representation(*(codes_of(model, x, k=probe_k) for x in pixels)),
            pca_code=Representation(*(pca.coefficients(x, units) for x in pixels)),
            pixels=pixels,
        )

    @property
    def shown(self) -> Callable[[Features], Features]:
        """What a decoder's output becomes before it is compared: images are clipped to [0, 1]."""
        if self.model.architecture.is_image:
            return lambda decoded: decoded.clip(0, 1)
        return lambda decoded: decoded

    @property
    def representations(self) -> dict[str, Representation]:
        """What classifiers are fitted on, by the names that the metrics use."""
        return {"code": self.features, "pca": self.pca_code}


@dataclass(frozen=True)
class TaskScores:
    """The numbers of one task."""

    metrics: dict[str, float | None]
    """The task's section of the metrics."""
    curves: dict[str, list[RatePoint]] = field(default_factory=dict)
    """Rate and distortion by coder; compression only."""


class RivalComparison(NamedTuple):
    """The code beside one rival, at one setting of a task.

    None stands for infinity: bits of a coder that never reaches the quality, PSNR without an error.
    """

    setting: str
    """Such as `10` for 10 units; empty where a task has one setting."""
    rival: str
    value: float | None
    baseline: float | None
    better: bool
    verdict: str | None
    """Key of this comparison in `beats_baseline`, where it has one."""


@dataclass(frozen=True)
class Task:
    """How a task is scored and judged."""

    score: Callable[[EvaluationData, EvaluateParams], TaskScores]
    """Use `score_task`, which also limits the threads."""
    verdicts: Mapping[str, str | None]
    """By rival: the key of its verdict, None where there is none."""
    decisive: Callable[[int], int] | None = None
    """Which of n settings the verdicts are taken at; None where a task has one setting."""
    number: str = "{}_at_{}"
    """Name of a number in the metrics, by coder and setting."""
    lower_is_better: bool = False

    def settings(self, metrics: Mapping[str, Any]) -> list[str]:
        """Settings in the task's section of the metrics, in its order."""
        return [""] if self.decisive is None else list(by_setting(metrics, "code"))

    def decisive_setting(self, metrics: Mapping[str, Any]) -> str:
        """The setting that the verdicts are taken at."""
        settings = self.settings(metrics)
        return settings[self.decisive(len(settings)) if self.decisive else 0]

    def comparisons(self, metrics: Mapping[str, Any]) -> list[RivalComparison]:
        """Every setting with every rival that the task's section of the metrics has.

        JPEG is a rival for images alone. The code is better where its number is strictly better;
        None is infinity.
        """
        found, decisive = [], self.decisive_setting(metrics)
        for setting in self.settings(metrics):
            for rival, verdict in self.verdicts.items():
                name = self.number.format(rival, setting)
                if name not in metrics:
                    continue
                value, baseline = metrics[self.number.format("code", setting)], metrics[name]
                ours, theirs = (math.inf if v is None else v for v in (value, baseline))
                better = ours < theirs if self.lower_is_better else ours > theirs
                key = verdict if setting == decisive else None
                found.append(RivalComparison(setting, rival, value, baseline, better, key))
        return found

    def beats_baseline(self, metrics: Mapping[str, Any]) -> dict[str, bool]:
        """The verdicts by key, from the task's section of the metrics."""
        return {c.verdict: c.better for c in self.comparisons(metrics) if c.verdict is not None}


def by_setting(metrics: Mapping[str, Any], coder: str) -> dict[str, Any]:
    """Values of `coder_at_setting` by setting, in the order of the metrics.

    >>> by_setting({"code_at_1": 0.5, "code_at_10": 0.9, "pca_at_1": 0.4}, "code")
    {'1': 0.5, '10': 0.9}
    """
    start = f"{coder}_at_"
    return {name.removeprefix(start): v for name, v in metrics.items() if name.startswith(start)}


def scorable(settings: EvaluateParams, manifest: Manifest) -> EvaluateParams:
    """The settings without what cannot be scored on the data, which is printed.

    Leaves out tasks that need labels or images where there are none, label counts that the smallest
    class does not have, and the task `few_labels` where none remains. Raises `RhobetaError` where
    anomalies are to be scored but cannot be.
    """
    if len(manifest.sample_shape) == 1:
        settings = _without(settings, NEED_IMAGES, "the rows are not images")
    if not manifest.classes:
        return _without(settings, NEED_LABELS, "the data has no labels", also=["linear probe"])
    _check_anomaly(settings, manifest)
    smallest = min(manifest.splits["train"]["per_class"].values())
    few_labels = [count for count in settings.few_labels if count <= smallest]
    if "few_labels" not in settings.tasks or few_labels == settings.few_labels:
        return settings
    left_out = ", ".join(str(count) for count in settings.few_labels if count > smallest)
    print(f"note: the smallest class has {smallest} samples; few_labels {left_out} is not scored")
    tasks = [task for task in settings.tasks if few_labels or task != "few_labels"]
    return settings.model_copy(update={"few_labels": few_labels, "tasks": tasks})


def _without(
    settings: EvaluateParams, left_out: Collection[str], reason: str, also: Sequence[str] = ()
) -> EvaluateParams:
    names = [*also, *(task.replace("_", " ") for task in settings.tasks if task in left_out)]
    if names:
        print(f"note: {reason}; not scored: {', '.join(names)}")
    tasks = [task for task in settings.tasks if task not in left_out]
    return settings.model_copy(update={"tasks": tasks})


def _check_anomaly(settings: EvaluateParams, manifest: Manifest) -> None:
    """Raise `RhobetaError` where anomalies are to be scored but cannot be.

    So it is for normal classes that the data does not have or that are all it has, and for a test
    split of normal images alone, or of none.
    """
    if "anomaly" not in settings.tasks:
        return
    try:
        check_normal_classes(settings.normal_classes, manifest.classes)
    except ValueError as error:
        raise RhobetaError(
            f"{error}.\nChange it in params.yaml, or take anomaly out of evaluate.tasks."
        ) from None
    tested = {int(label) for label in manifest.splits["test"]["per_class"]}
    normal = tested & set(settings.normal_classes or manifest.classes)
    # Where each class is normal in turn, the other classes are the anomalies.
    anomalies = tested - normal if settings.normal_classes else tested
    if not normal or not anomalies or len(tested) == 1:
        raise RhobetaError(
            f"evaluate.normal_classes: found {settings.normal_classes or 'null'}, but the test"
            f" split has only images of {', '.join(map(str, sorted(tested)))}; an anomaly score"
            " needs normal images and others there.\n"
            "Add test images, or take anomaly out of evaluate.tasks."
        )


def score_task(name: str, data: EvaluationData, settings: EvaluateParams) -> TaskScores:
    """Score the task `name`, one of `TASKS`."""
    from threadpoolctl import threadpool_limits

    # The products are small: more threads, in two copies of BLAS, wait for each other.
    with threadpool_limits(1):
        scores = TASKS[name].score(data, settings)
    return replace(scores, metrics={**scores.metrics, **data.baselines.tasks.get(name, {})})


def _sparse_probe(data: EvaluationData, settings: EvaluateParams) -> TaskScores:
    labels = require_labels(data.labels)
    return _by_coder(
        {
            name: sparse_probe_accuracies(
                features,
                labels,
                units=settings.sparse_probe_units,
                inverse_penalty=max(settings.probe_penalty),
                seed=settings.seed,
            )
            for name, features in data.representations.items()
        }
    )


def _few_labels(data: EvaluationData, settings: EvaluateParams) -> TaskScores:
    return _by_coder(
        few_label_accuracies(
            data.representations,
            require_labels(data.labels),
            labels_per_class=settings.few_labels,
            inverse_penalties=settings.probe_penalty,
            seed=settings.seed,
        )
    )


def _by_coder(accuracies: Mapping[str, Mapping[int, float]]) -> TaskScores:
    return TaskScores(
        {f"{name}_at_{at}": value for name, by in accuracies.items() for at, value in by.items()}
    )


def _denoising(data: EvaluationData, settings: EvaluateParams) -> TaskScores:
    quality = denoising_quality(
        {"code": lambda noisy, _: encode_images(data.model, noisy).reconstruction},
        data.pixels.test,
        noise=settings.noise,
        seed=settings.seed,
    )
    return TaskScores(dict(quality))


def _anomaly(data: EvaluationData, settings: EvaluateParams) -> TaskScores:
    labels = require_labels(data.labels)
    scores = aurocs("code", code_scores, data.code, labels, settings.normal_classes)
    return TaskScores(dict(scores))


def _compression(data: EvaluationData, settings: EvaluateParams) -> TaskScores:
    pixels, shown = data.pixels.test, data.shown

    def decode(code: Features) -> Features:
        with torch.inference_mode():
            return shown(data.model.decode(torch.from_numpy(code)).numpy())

    def rebuilt(code: Features) -> Features:
        return shown(data.baselines.pca.rebuilt(code))

    unquantised = decoded_mse(data.code.test, decode, pixels)
    curves = {
        "code": quantised_curve(data.code.train, data.code.test, decode, pixels),
        "pca": quantised_curve(data.pca_code.train, data.pca_code.test, rebuilt, pixels),
    }
    if data.baselines.jpeg:
        curves["jpeg"] = data.baselines.jpeg
    bits, mse = operating_point(curves["code"], unquantised)
    metrics: dict[str, float | None] = {"code_bits": bits, "mse": mse}
    metrics |= {f"{name}_bits": bits_for(curves[name], mse) for name in curves if name != "code"}
    return TaskScores(metrics, curves)


TASKS = {
    "sparse_probe": Task(
        _sparse_probe,
        {"pca": "sparse_probe_pca", "pixels": "sparse_probe_pixels"},
        decisive=lambda count: count - 1,
    ),
    "few_labels": Task(
        _few_labels,
        {"pca": "few_labels_pca", "pixels": "few_labels_pixels"},
        decisive=lambda count: 0,
    ),
    "denoising": Task(
        _denoising,
        {"wiener": "wiener", "noisy": None},
        decisive=lambda count: count // 2,
    ),
    "anomaly": Task(_anomaly, {"pca": "anomaly_pca"}, number="{}_auroc"),
    "compression": Task(
        _compression,
        {"pca": "compression_pca", "jpeg": "compression_jpeg"},
        number="{}_bits",
        lower_is_better=True,
    ),
}
