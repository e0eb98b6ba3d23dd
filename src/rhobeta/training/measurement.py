"""The statistics of a split after every epoch."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from rhobeta.metrics.reconstruction import ReconstructionAccumulator
from rhobeta.metrics.sparsity import SparsityAccumulator
from rhobeta.model.autoencoder import Autoencoder, Output
from rhobeta.model.fixed_order import total
from rhobeta.model.loss import SparseLoss, cross_entropies
from rhobeta.model.means import Mean, Means, joined

L0_THRESHOLDS = (0.1, 0.5)
"""Activities above which a unit counts as active, in the statistics of every epoch."""
DEAD_THRESHOLD = 0.1
"""A unit that never exceeds this activity is dead."""
CONSTANT_STD = 0.01
"""A unit whose activity has a smaller standard deviation is constant."""


class SplitMeasurement:
    """Accumulates a split piece by piece; the penalty is that of the whole split's means.

    `mean_image` is the mean of the train split, in [0, 1] (shape: [pixels]).
    """

    def __init__(self, sparse_loss: SparseLoss, mean_image: Tensor) -> None:
        self._loss = sparse_loss
        self._sparsity = _accumulator()
        self._reconstruction = ReconstructionAccumulator(mean_image)
        self._means: Means | None = None
        self._pixel_loss_sum = 0.0
        self._images = 0

    def update(self, x: Tensor, output: Output, activity: Tensor) -> None:
        """Add images in [0, 1] (shape: [images, pixels]) with their output and activity."""
        self._reconstruction.update(x, output.reconstruction)
        self._sparsity.update(activity)
        if self._loss.pixel_loss != "mse":
            entropies = cross_entropies(output.output_pre_activation, x).double()
            self._pixel_loss_sum += total(entropies).item() / x.shape[1]
        means = self._loss.means(output.pre_activation.double(), output.code.double())
        # On the CPU, where the parts of several processes, from their devices, are joined.
        self._add_means(None if means is None else type(means)(*(m.cpu() for m in means)), len(x))

    def on_cpu(self) -> "SplitMeasurement":
        """Move all sums to the CPU's memory; returns this object."""
        self._sparsity.on_cpu()
        return self

    def add(self, other: "SplitMeasurement") -> "SplitMeasurement":
        """Add the images of `other`; returns this object."""
        if other._images == 0:
            return self
        self._reconstruction.add(other._reconstruction)
        self._sparsity.add(other._sparsity)
        self._pixel_loss_sum += other._pixel_loss_sum
        self._add_means(other._means, other._images)
        return self

    def _add_means(self, means: Means | None, images: int) -> None:
        self._images += images
        if means is not None and self._means is not None:
            means = joined(self._means, means, images / self._images)
        self._means = means

    @property
    def largest_mean(self) -> float | None:
        """The largest mean activation of a unit; None unless the penalty uses plain means."""
        if isinstance(self._means, Mean) and self._loss.spec.uses_rho:
            return float(self._means.value.max())
        return None

    def metrics(self, autoencoder: Autoencoder) -> dict[str, float]:
        """Loss and its parts, quality and sparsity of all images so far, by name."""
        quality = self._reconstruction.quality()
        weights = [weight.detach().cpu() for weight in autoencoder.weights()]
        penalty = self._loss.penalty(self._means, weights)
        penalty_value = 0.0 if penalty is None else penalty.item()
        pixel_loss = quality.mse
        if self._loss.pixel_loss != "mse":
            pixel_loss = self._pixel_loss_sum / self._images
        rho = float(self._loss.rho) if self._loss.spec.uses_rho else None
        return {
            "loss": pixel_loss + float(self._loss.beta) * penalty_value,
            "mse": quality.mse,
            "penalty": penalty_value,
            "fvu": quality.fvu,
            **self._sparsity.statistics().as_metrics(rho),
        }


def final_sparsity(
    metrics: Mapping[str, float], model: Autoencoder, train: Iterable[Tensor]
) -> dict[str, float]:
    """Mean activation, L0 and dead units of the kept weights, as `ModelDescription.sparsity`.

    They are those of the validation split in the kept epoch's `metrics`; without one, they are
    measured on the train split, rows as `model` takes them, in pieces (shape: [rows, features]).
    """
    if "validation/loss" not in metrics:
        sparsity = _accumulator()
        with torch.inference_mode():
            for rows in train:
                sparsity.update(model.activity(model.encode(rows)))
        metrics = {f"train/{k}": v for k, v in sparsity.statistics().as_metrics(None).items()}
    wanted = ("rho_hat_mean", "dead_units", *(f"l0_at_{level:g}" for level in L0_THRESHOLDS))
    return {k: v for k, v in metrics.items() if k.partition("/")[2] in wanted}


def _accumulator() -> SparsityAccumulator:
    return SparsityAccumulator(
        l0_thresholds=L0_THRESHOLDS, dead_threshold=DEAD_THRESHOLD, constant_std=CONSTANT_STD
    )
