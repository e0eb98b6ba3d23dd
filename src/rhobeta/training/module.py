"""The Lightning module: the training step, and what is measured every epoch."""

import math
from dataclasses import dataclass
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from rhobeta.data.batches import to_unit_interval
from rhobeta.errors import RhobetaError
from rhobeta.metrics.reconstruction import ReconstructionAccumulator
from rhobeta.metrics.sparsity import SparsityAccumulator
from rhobeta.model.autoencoder import Autoencoder
from rhobeta.model.objective import Objective
from rhobeta.model.penalties import LogMeans, bernoulli_kl, log_means


@dataclass(frozen=True)
class Optimization:
    """How the weights are found: Adam, and the course of its step size."""

    epochs: int
    batch_size: int
    learning_rate: float
    schedule: str
    weight_decay: float = 0.0
    """lambda of the term lambda / 2 * |W|^2 over all weights; biases are left out."""


@dataclass(frozen=True)
class Measurement:
    """What the statistics of every epoch count as active, dead and constant."""

    l0_thresholds: tuple[float, ...] = (0.1, 0.5)
    dead_threshold: float = 0.1
    constant_std: float = 0.01


class SparseAutoencoderModule(pl.LightningModule):
    """Trains an `Autoencoder` on chunks of mini-batches.

    Optimisation is manual: one training step takes a chunk of mini-batches (bytes of shape
    [images, pixels]) and steps the optimiser once for each, which keeps Lightning's bookkeeping
    off the single step. Sums stay on the device and are read once an epoch.

    `train_images` is their number, which the learning rate's course needs; `mean_image` is their
    mean in [0, 1] (shape: [pixels]), to which the fraction of variance unexplained refers.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        objective: Objective,
        optimization: Optimization,
        *,
        train_images: int,
        mean_image: Tensor,
        measurement: Measurement | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.autoencoder = autoencoder
        self.objective = objective
        self.epoch_metrics: dict[str, float] = {}
        """Metrics of the epoch that has just ended, `train/...` and `validation/...`."""
        self._optimization = optimization
        self._measurement = measurement or Measurement()
        self._mean_image = mean_image
        self._sums = torch.zeros(4, dtype=torch.float64)
        self._images_seen = 0
        self._steps_per_epoch = math.ceil(train_images / optimization.batch_size)
        self._steps_done = 0
        self._rate = 0.0

    def configure_optimizers(self) -> Optimizer:
        """Adam with its usual moments; fused, which computes the same in one pass.

        Weight decay is the gradient of lambda / 2 * |W|^2, added before the moments as in CS294A;
        it is no part of the loss that is logged.
        """
        weights = [p for p in self.parameters() if p.ndim > 1]
        biases = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": weights, "weight_decay": self._optimization.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ]
        return Adam(groups, lr=self._optimization.learning_rate, fused=True)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums anew."""
        # float64 is not to be had on Apple's GPUs.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._sums = torch.zeros(4, dtype=dtype, device=self.device)
        self._images_seen = 0

    def training_step(self, chunk: Tensor, batch_idx: int) -> None:
        """One optimiser step for each mini-batch in `chunk` (bytes, [images, pixels])."""
        optimizer = cast(Optimizer, self.optimizers())
        measured, sizes = [], []
        for images in torch.split(chunk, self._optimization.batch_size):
            x = to_unit_interval(images)
            output = self.autoencoder(x)
            terms = self.objective(output, x)
            self._set_learning_rate(optimizer)
            optimizer.zero_grad()
            self.manual_backward(terms.loss)
            optimizer.step()
            activity = self.autoencoder.activity(output.code.detach()).mean()
            measured += [terms.loss.detach(), terms.mse.detach(), terms.penalty.detach(), activity]
            sizes.append(len(x))
        # One sum a chunk, weighted by the sizes of its mini-batches.
        values = torch.stack(measured).reshape(len(sizes), 4).to(self._sums.dtype)
        self._sums += values.new_tensor(sizes) @ values
        self._images_seen += sum(sizes)

    def running_metrics(self) -> dict[str, float]:
        """Means over the images of the current epoch so far."""
        names = ("loss", "mse", "penalty", "mean_activity")
        means = (self._sums / max(self._images_seen, 1)).tolist()
        return dict(zip(names, means, strict=True))

    def on_validation_epoch_start(self) -> None:
        """Start the statistics of the validation split anew."""
        measurement = self._measurement
        self._sparsity = SparsityAccumulator(
            l0_thresholds=measurement.l0_thresholds,
            dead_threshold=measurement.dead_threshold,
            constant_std=measurement.constant_std,
        )
        self._reconstruction = ReconstructionAccumulator(self._mean_image)
        self._split_means: LogMeans | None = None
        self._split_size = 0

    def validation_step(self, images: Tensor, batch_idx: int) -> None:
        """Accumulate the statistics of a piece of the validation split."""
        x = to_unit_interval(images)
        output = self.autoencoder(x)
        self._reconstruction.update(x, output.reconstruction)
        self._sparsity.update(self.autoencoder.activity(output.code))
        if self.objective.kind != "none":
            piece = log_means(self.objective.logits(output).double())
            self._split_means = _join(self._split_means, self._split_size, piece, len(x))
        self._split_size += len(x)

    def on_validation_epoch_end(self) -> None:
        """Complete the epoch's record: the KL is that of the whole split's mean activation."""
        quality = self._reconstruction.quality()
        penalty = 0.0
        if self._split_means is not None:
            penalty = bernoulli_kl(self._split_means, self.objective.rho).sum().item()
        rho = None if self.objective.kind == "none" else float(self.objective.rho)
        validation = {
            "loss": quality.mse + float(self.objective.beta) * penalty,
            "mse": quality.mse,
            "penalty": penalty,
            "fvu": quality.fvu,
            **self._sparsity.statistics().as_metrics(rho),
        }
        train = {f"train/{k}": v for k, v in self.running_metrics().items()}
        self.epoch_metrics = train | {f"validation/{k}": v for k, v in validation.items()}
        self.epoch_metrics["learning_rate"] = self._rate
        self._require_finite()
        self.log_dict(self.epoch_metrics)

    def _set_learning_rate(self, optimizer: Optimizer) -> None:
        settings = self._optimization
        self._rate = settings.learning_rate * rate_factor(
            self._steps_done, self._steps_per_epoch, settings.epochs, settings.schedule
        )
        for group in optimizer.param_groups:
            group["lr"] = self._rate
        self._steps_done += 1

    def _require_finite(self) -> None:
        # FVU is infinite where all validation images are the mean image: no fault of training.
        numbers = {k: v for k, v in self.epoch_metrics.items() if k != "validation/fvu"}
        broken = [k for k, v in numbers.items() if not math.isfinite(v)]
        if broken:
            raise RhobetaError(
                f"Training has diverged: in epoch {self.current_epoch + 1}"
                f" {', '.join(broken)} {'is' if len(broken) == 1 else 'are'} not finite.\n"
                "Lower training.learning_rate or penalty.beta. No model was written."
            )


def rate_factor(step: int, steps_per_epoch: int, epochs: int, schedule: str) -> float:
    """The learning rate of `step` (from 0) as a share of its highest.

    constant: 1. cosine: linear from 1/steps_per_epoch to 1 over the first epoch, multiplied by
    (1 + cos(pi step / all steps)) / 2. A single epoch has no warm-up.
    """
    if schedule == "constant":
        return 1.0
    warmth = min(1.0, (step + 1) / steps_per_epoch) if epochs > 1 else 1.0
    return warmth * (1 + math.cos(math.pi * step / (steps_per_epoch * epochs))) / 2


def _join(so_far: LogMeans | None, size: int, piece: LogMeans, piece_size: int) -> LogMeans:
    # Means of two parts of a split, weighted by their sizes, in logarithms.
    if so_far is None:
        return piece
    total = size + piece_size
    old, new = math.log(size / total), math.log(piece_size / total)
    return LogMeans(
        *(torch.logaddexp(a + old, b + new) for a, b in zip(so_far, piece, strict=True))
    )
