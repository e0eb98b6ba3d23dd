"""Baselines that depend on the data alone: computed once, when the splits are drawn.

The mean of the samples, the principal components, the probe on raw pixels or features, and what
these, PCA, the Wiener filter and JPEG reach in the downstream tasks. No model is involved.
"""

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.config.sections import EvaluateParams
from rhobeta.data.samples import Samples
from rhobeta.errors import RhobetaError
from rhobeta.metrics.baselines import PrincipalComponents
from rhobeta.metrics.downstream.anomaly import aurocs, pixel_scores
from rhobeta.metrics.downstream.compression import RatePoint, jpeg_curve
from rhobeta.metrics.downstream.denoising import denoising_quality
from rhobeta.metrics.downstream.few_labels import few_label_accuracies
from rhobeta.metrics.downstream.sparse_probe import sparse_probe_accuracies
from rhobeta.metrics.moments import mean_square
from rhobeta.metrics.probe import Labels, Representation, probe_accuracy
from rhobeta.model.header import MALFORMED, metadata_in
from rhobeta.paths import Paths
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum, verify_checksum
from rhobeta.utils.files import require_file
from rhobeta.utils.threads import cores

BASELINE_PARAMETERS = (
    "few_labels",
    "noise",
    "normal_classes",
    "probe_penalty",
    "seed",
    "sparse_probe_units",
    "tasks",
)
"""Parameters of `evaluate` that the baselines depend on, as dvc.yaml names them too."""

_FORMAT = "rhobeta-baselines-1"
_MOST_BYTES = 512 << 20
_ARRAYS = ("mean", "axes", "variances")

Numbers = dict[str, float]


@dataclass(frozen=True)
class DataBaselines:
    """What is reached on the test samples without a model."""

    pca: PrincipalComponents
    """Fitted on the training samples."""
    mean_image_mse: float
    """MSE of the mean of the training samples, an image or a vector."""
    pixel_probe: float | None
    """Accuracy of the linear probe on raw pixels or features; None without labels."""
    tasks: dict[str, Numbers]
    """By task: the numbers of its rivals that need no model, named as in the metrics."""
    jpeg: list[RatePoint]
    """Rate and distortion of JPEG; empty for vectors, and where compression is not scored."""
    data_sha256: str
    parameters: dict[str, Any]
    """The values of `BASELINE_PARAMETERS`."""

    @classmethod
    def of_splits(
        cls,
        pixels: Representation,
        labels: Labels | None,
        sample_shape: tuple[int, ...],
        settings: EvaluateParams,
        *,
        data_sha256: str,
        overwrite: bool = False,
    ) -> "DataBaselines":
        """Compute them from the samples of the three splits.

        `settings` are what `scorable` leaves of them. With `overwrite` the samples are lost, which
        saves a copy of them.
        """
        from threadpoolctl import threadpool_limits

        train, test = pixels.train, pixels.test
        # The products are small: more threads, in two copies of BLAS, wait for each other.
        with threadpool_limits(1):
            pca = PrincipalComponents.fit(train)
            # As many tasks at a time as there are cores, and JPEG beside them.
            with ThreadPoolExecutor(cores()) as pool:
                rivals: dict[str, Future[Numbers]] = {
                    task: pool.submit(_RIVALS[task], pixels, labels, pca, settings)
                    for task in settings.tasks
                    if task in _RIVALS
                }
                compresses = "compression" in settings.tasks and len(sample_shape) > 1
                jpeg = jpeg_curve(test, sample_shape, seed=settings.seed) if compresses else []
            return cls(
                pca=pca,
                mean_image_mse=mean_square(test - pca.mean),
                tasks={task: numbers.result() for task, numbers in rivals.items()},
                jpeg=jpeg,
                # Last, since it may overwrite the samples.
                pixel_probe=None
                if labels is None
                else probe_accuracy(
                    pixels,
                    labels,
                    inverse_penalties=settings.probe_penalty,
                    overwrite=overwrite,
                ),
                data_sha256=data_sha256,
                parameters=_parameters(settings),
            )

    def to_bytes(self) -> bytes:
        """Serialise, with a checksum; the same baselines give the same bytes."""
        from safetensors.numpy import save

        described = {
            "_seal": EMPTY_CHECKSUM,
            "format": _FORMAT,
            "mean_image_mse": self.mean_image_mse,
            "pixel_probe": self.pixel_probe,
            # PSNR has no number where there is no error; JSON has none for infinity.
            "tasks": {
                task: {name: value if np.isfinite(value) else None for name, value in by.items()}
                for task, by in self.tasks.items()
            },
            "jpeg": self.jpeg,
            "data_sha256": self.data_sha256,
            "parameters": self.parameters,
        }
        arrays = {name: np.ascontiguousarray(getattr(self.pca, name)) for name in _ARRAYS}
        return add_checksum(
            save(arrays, metadata={"rhobeta": json.dumps(described, allow_nan=False)})
        )

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str) -> "DataBaselines":
        """Read what `to_bytes` wrote. Raises `RhobetaError` where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            verify_checksum(content)
            described = metadata_in(content, _FORMAT)
            tasks = {
                task: {
                    name: np.inf if value is None else float(value) for name, value in by.items()
                }
                for task, by in described.pop("tasks").items()
            }
            jpeg = [RatePoint(*point) for point in described.pop("jpeg")]
            pca = PrincipalComponents(**load(content))
            return cls(pca=pca, tasks=tasks, jpeg=jpeg, **described)
        except (RhobetaError, SafetensorError, *MALFORMED) as error:
            raise RhobetaError(
                f"{name} is damaged ({error}).\nRun `dvc repro --force preprocess` to write it"
                " again."
            ) from None


def read_baselines(paths: Paths, settings: EvaluateParams, data_sha256: str) -> DataBaselines:
    """Read the baselines.

    Raises `RhobetaError` where they are missing or damaged, or are of other data or parameters.
    """
    content = require_file(paths.baselines, made_by="rhobeta preprocess").read_bytes()
    found = DataBaselines.from_bytes(content, name=str(paths.baselines))
    wanted = _parameters(settings)
    other = [f"evaluate.{name}" for name in wanted if found.parameters.get(name) != wanted[name]]
    if found.data_sha256 != data_sha256:
        other = ["data"]
    if other:
        raise RhobetaError(
            f"{paths.baselines} was computed with other {', '.join(other)}.\n"
            "Run `dvc repro`, or `rhobeta preprocess` and this command again."
        )
    return found


def rows_to_fit(count: int, features: int, *, seed: int) -> NDArray[np.intp] | None:
    """The training rows that baselines, probes and tasks are fitted on; None: all `count`.

    Of more than 512 MiB of float32, as many as that holds are drawn by `seed`, ascending.
    """
    most = max(1, _MOST_BYTES // (4 * features))
    if count <= most:
        return None
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def labels_of(train: Samples, validation: Samples, test: Samples) -> Labels | None:
    """The labels of the splits; None where the data has none."""
    if train.labels is None or validation.labels is None or test.labels is None:
        return None
    return Labels(train.labels, validation.labels, test.labels)


def require_labels(labels: Labels | None) -> Labels:
    """The labels of data that has them. Raises `ValueError` for other data."""
    if labels is None:
        raise ValueError("data without labels; expected only tasks that need none")
    return labels


def _parameters(settings: EvaluateParams) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in BASELINE_PARAMETERS}


def _sparse_probe(
    pixels: Representation,
    labels: Labels | None,
    pca: PrincipalComponents,
    settings: EvaluateParams,
) -> Numbers:
    found = sparse_probe_accuracies(
        pixels,
        require_labels(labels),
        units=settings.sparse_probe_units,
        inverse_penalty=max(settings.probe_penalty),
        seed=settings.seed,
    )
    return {f"pixels_at_{at}": value for at, value in found.items()}


def _few_labels(
    pixels: Representation,
    labels: Labels | None,
    pca: PrincipalComponents,
    settings: EvaluateParams,
) -> Numbers:
    found = few_label_accuracies(
        {"pixels": pixels},
        require_labels(labels),
        labels_per_class=settings.few_labels,
        inverse_penalties=settings.probe_penalty,
        seed=settings.seed,
    )
    return {f"pixels_at_{at}": value for at, value in found["pixels"].items()}


def _denoising(
    pixels: Representation,
    labels: Labels | None,
    pca: PrincipalComponents,
    settings: EvaluateParams,
) -> Numbers:
    return denoising_quality(
        {"wiener": pca.denoised, "noisy": lambda noisy, sigma: noisy},
        pixels.test,
        noise=settings.noise,
        seed=settings.seed,
    )


def _anomaly(
    pixels: Representation,
    labels: Labels | None,
    pca: PrincipalComponents,
    settings: EvaluateParams,
) -> Numbers:
    return aurocs("pca", pixel_scores, pixels, require_labels(labels), settings.normal_classes)


_Rivals = Callable[[Representation, Labels | None, PrincipalComponents, EvaluateParams], Numbers]
_RIVALS: Mapping[str, _Rivals] = {
    "sparse_probe": _sparse_probe,
    "few_labels": _few_labels,
    "denoising": _denoising,
    "anomaly": _anomaly,
}
