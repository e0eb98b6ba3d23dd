"""What is measured of a split after every epoch."""

from torch import Tensor

from rhobeta.metrics.reconstruction import ReconstructionAccumulator
from rhobeta.metrics.sparsity import SparsityAccumulator
from rhobeta.model.autoencoder import Autoencoder, Output
from rhobeta.model.loss import SparseLoss
from rhobeta.model.means import Mean, Means, joined

L0_THRESHOLDS = (0.1, 0.5)
"""A unit counts as active above these in the statistics of every epoch."""
DEAD_THRESHOLD = 0.1
"""There a unit that never exceeds this is dead."""
CONSTANT_STD = 0.01
"""There a unit whose standard deviation is below this is constant."""


class SplitMeasurement:
    """Takes a split piece by piece; the penalty is that of the whole split's means.

    `mean_image` is that of the train split, in [0, 1] (shape: [pixels]).
    """

    def __init__(self, objective: SparseLoss, mean_image: Tensor) -> None:
        self._objective = objective
        self._sparsity = SparsityAccumulator(
            l0_thresholds=L0_THRESHOLDS,
            dead_threshold=DEAD_THRESHOLD,
            constant_std=CONSTANT_STD,
        )
        self._reconstruction = ReconstructionAccumulator(mean_image)
        self._means: Means | None = None
        self._pixel_loss_sum = 0.0
        self._images = 0

    def update(self, x: Tensor, output: Output, activity: Tensor) -> None:
        """Add images in [0, 1] ([images, pixels]), the network's output, its code's activity."""
        self._reconstruction.update(x, output.reconstruction)
        self._sparsity.update(activity)
        if self._objective.pixel_loss != "mse":
            pixel_loss = self._objective.pixel_terms(output, x)[0].item()
            self._pixel_loss_sum += pixel_loss * len(x)
        exact = output._replace(
            pre_activation=output.pre_activation.double(), code=output.code.double()
        )
        means = self._objective.means(exact)
        # Lets the parts of a split that other processes have taken come from other devices.
        self._take_means(None if means is None else type(means)(*(m.cpu() for m in means)), len(x))

    def on_cpu(self) -> "SplitMeasurement":
        """Move all that has been taken to the CPU's memory; returns this one."""
        self._sparsity.on_cpu()
        return self

    def add(self, other: "SplitMeasurement") -> "SplitMeasurement":
        """Add the images that another has taken; returns this one."""
        if other._images == 0:
            return self
        self._reconstruction.add(other._reconstruction)
        self._sparsity.add(other._sparsity)
        self._pixel_loss_sum += other._pixel_loss_sum
        self._take_means(other._means, other._images)
        return self

    def _take_means(self, means: Means | None, images: int) -> None:
        self._images += images
        if means is not None and self._means is not None:
            means = joined(self._means, means, images / self._images)
        self._means = means

    @property
    def largest_mean(self) -> float | None:
        """The largest mean activation of a unit; None where the penalty is of none, or of logs."""
        if isinstance(self._means, Mean) and self._objective.spec.uses_rho:
            return float(self._means.value.max())
        return None

    def metrics(self, autoencoder: Autoencoder) -> dict[str, float]:
        """Loss and its parts, quality and sparsity of all images so far, by name."""
        quality = self._reconstruction.quality()
        weights = [kernel.detach().cpu() for kernel in autoencoder.weights()]
        penalty = self._objective.penalty(self._means, weights)
        penalty_value = 0.0 if penalty is None else penalty.item()
        pixel_loss = quality.mse
        if self._objective.pixel_loss != "mse":
            pixel_loss = self._pixel_loss_sum / self._images
        rho = float(self._objective.rho) if self._objective.spec.uses_rho else None
        return {
            "loss": pixel_loss + float(self._objective.beta) * penalty_value,
            "mse": quality.mse,
            "penalty": penalty_value,
            "fvu": quality.fvu,
            **self._sparsity.statistics().as_metrics(rho),
        }
