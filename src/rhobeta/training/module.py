"""The Lightning module: the training step, and what is measured every epoch."""

import math
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from rhobeta.data.batches import Chunk, rank_slice, to_unit_interval
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Autoencoder, Output
from rhobeta.model.auxk import DeadUnitTracker, auxk_loss
from rhobeta.model.loss import LossTerms, SparseLoss
from rhobeta.model.means import Mean, Means, RunningMean, running_share
from rhobeta.training.measurement import SplitMeasurement
from rhobeta.training.process_group import ProcessGroup
from rhobeta.training.settings import Measurement, Optimization, annealed_k, lr_factor

ENOUGH_ACTIVE_IMAGES = 10
"""The least rho * batch_size for which a batch's mean activation stands for the whole."""


class DivergedError(RhobetaError):
    """Training has come to numbers that are none; it would again from any earlier state."""


class SparseAutoencoderModule(pl.LightningModule):
    """Trains an `Autoencoder` on chunks of mini-batches.

    Optimisation is manual: one training step takes a chunk of mini-batches (bytes of shape
    [images, pixels]) and steps the optimiser once for each, which keeps Lightning's bookkeeping
    off the single step. Sums stay on the device; they are looked at once a chunk, for numbers that
    are none, and read once an epoch.

    Where rho * batch_size is below 10, a penalty on a mean activation is that of a running mean;
    an epoch's last mini-batch, which may be shorter, counts there as any other.

    `train_images` is their number, which the courses of learning rate and k need; `mean_image` is
    their mean in [0, 1] (shape: [pixels]), to which the fraction of variance unexplained refers;
    `seed` is that of the noise.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        objective: SparseLoss,
        optimization: Optimization,
        *,
        train_images: int,
        mean_image: Tensor,
        seed: int = 0,
        measurement: Measurement | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.autoencoder = autoencoder
        self.objective = objective
        self.epoch_metrics: dict[str, float] = {}
        """Metrics of the epoch that has just ended, `train/...` and `validation/...`.

        Without validation images there are only those of training.
        """
        self._optimization = optimization
        self._measurement = measurement or Measurement()
        self._group = ProcessGroup()
        self._exact = torch.float32
        self._kept: dict[str, Any] | None = None
        self._mean_image = mean_image
        self._sums = torch.zeros(4, dtype=torch.float64)
        self._images_seen = 0
        self.steps_per_epoch = math.ceil(train_images / optimization.batch_size)
        self.steps_done = 0
        """Steps of the optimiser so far, also those before a state that training goes on from."""
        self._rate = 0.0
        self._seed = seed
        share = 1.0
        if objective.spec.uses_rho:
            rho, size = float(objective.rho), min(optimization.batch_size, train_images)
            share = running_share(rho, size, ENOUGH_ACTIVE_IMAGES)
        self._running_mean = RunningMean(share)
        self._largest_mean = torch.zeros(())
        self._silent: DeadUnitTracker | None = None
        self._patience = train_images

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
        settings = self._optimization
        return Adam(groups, lr=settings.learning_rate, eps=settings.epsilon, fused=True)

    def on_fit_start(self) -> None:
        """Begin the records that live on the device, or go on with those of a kept state."""
        architecture, topk = self.autoencoder.architecture, self._optimization.topk
        self._group = ProcessGroup(self.trainer.global_rank, self.trainer.world_size)
        self._exact = next(self.autoencoder.parameters()).dtype
        self._largest_mean = torch.zeros((), device=self.device)
        if topk is not None and topk.auxk_coef > 0:
            self._silent = DeadUnitTracker(architecture.units, self._patience, self.device)
        if self._kept is not None:
            self._go_on(self._kept)
        elif self._optimization.unit_norm_decoder:
            self.autoencoder.normalize_decoder()

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums anew."""
        # float64 is not to be had on Apple's GPUs.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._sums = torch.zeros(4, dtype=dtype, device=self.device)
        self._images_seen = 0

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        """One optimiser step for each mini-batch in `chunk`."""
        optimizer = cast(Optimizer, self.optimizers())
        noise = self._noise_generator(batch_idx)
        # Read once a chunk: whether there is any silent unit is a question to the device.
        silent = None if self._silent is None else self._silent.mask
        if silent is not None and not bool(silent.any()):
            silent = None
        weights = self.autoencoder.weights()
        measured, shares = [], []
        batches = torch.split(chunk.images, list(chunk.rows))
        for images, size in zip(batches, chunk.sizes, strict=True):
            share = rank_slice(size, self._group.rank, self._group.size)
            x = to_unit_interval(images, self._exact)
            output = self.autoencoder(self._corrupted(x, noise, share, size), k=self._k())
            terms, loss = self._losses(output, x, weights, silent, len(share) / size)
            self._set_learning_rate(optimizer)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            if self._optimization.unit_norm_decoder:
                self.autoencoder.normalize_decoder()
            if self._silent is not None:
                active = (output.code.detach()[: len(share)] > 0).any(0)
                self._silent.update(self._group.any(active), size)
            activity = self.autoencoder.activity(output.code.detach()).mean()
            measured += [terms.loss.detach(), terms.mse.detach(), terms.penalty.detach(), activity]
            shares.append(len(share))
        # One sum a chunk, weighted by the sizes of its mini-batches.
        values = torch.stack(measured).reshape(len(shares), 4).to(self._sums.dtype)
        self._sums += self._group.total(values.new_tensor(shares) @ values)
        self._images_seen += sum(chunk.sizes)
        self._require_finite_sums()
        if not self._validates and batch_idx + 1 == self.trainer.num_training_batches:
            self._complete_epoch({})

    def _losses(
        self,
        output: Output,
        x: Tensor,
        weights: Sequence[Tensor],
        silent: Tensor | None,
        weight: float,
    ) -> tuple[LossTerms, Tensor]:
        # `weight` is the part of the mini-batch that is this process's. Gradients are averaged
        # over the processes, so a loss times weight * processes gives the mini-batch's gradient.
        with torch.autocast(self.device.type, enabled=False):
            output = Output(*(values.to(self._exact) for values in output))
            terms = self.objective(output, x, weights, self._means(output, weight))
            loss = terms.loss
            if silent is not None:
                loss = loss + self._revival(output, x, silent)
        return terms, loss if self._group.size == 1 else loss * (weight * self._group.size)

    def running_metrics(self) -> dict[str, float]:
        """Means over the images of the current epoch so far."""
        names = ("loss", "mse", "penalty", "mean_activity")
        means = (self._sums / max(self._images_seen, 1)).tolist()
        return dict(zip(names, means, strict=True))

    def on_validation_epoch_start(self) -> None:
        """Start the statistics of the validation split anew."""
        self._split = SplitMeasurement(self.objective, self._measurement, self._mean_image)

    def validation_step(self, images: Tensor, batch_idx: int) -> None:
        """Accumulate the statistics of a piece of the validation split."""
        if len(images) == 0:
            return
        x = to_unit_interval(images, self._exact)
        # Whatever training computes in, what is measured is the model as it is kept.
        with torch.autocast(self.device.type, enabled=False):
            output = self.autoencoder(x)
            self._split.update(x, output, self.autoencoder.activity(output.code))

    def on_validation_epoch_end(self) -> None:
        """Complete the epoch's record with the statistics of the whole split."""
        self._split = self._group.joined(self._split.on_cpu(), SplitMeasurement.add)
        if (largest := self._split.largest_mean) is not None:
            self._note_largest(torch.as_tensor(largest))
        self._complete_epoch(self._split.metrics(self.autoencoder))
        self.log_dict(self.epoch_metrics)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of: plain values and tensors."""
        checkpoint["rhobeta"] = {
            "sums": self._sums,
            "images_seen": self._images_seen,
            "steps_done": self.steps_done,
            "rate": self._rate,
            "running_mean": self._running_mean.state_dict(),
            "largest_mean": self._largest_mean,
            "silent": None if self._silent is None else self._silent.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note a kept state, for when the device is known."""
        self._kept = checkpoint["rhobeta"]

    def _go_on(self, state: dict[str, Any]) -> None:
        self._sums = state["sums"].to(self.device)
        self._images_seen = state["images_seen"]
        self.steps_done = state["steps_done"]
        self._rate = state["rate"]
        self._running_mean.load_state_dict(state["running_mean"], self.device)
        self._largest_mean = state["largest_mean"].to(self.device)
        if self._silent is not None:
            self._silent.load_state_dict(state["silent"])

    @property
    def _validates(self) -> bool:
        return bool(sum(self.trainer.num_val_batches))

    def _complete_epoch(self, validation: dict[str, float]) -> None:
        train = {f"train/{k}": v for k, v in self.running_metrics().items()}
        self.epoch_metrics = train | {f"validation/{k}": v for k, v in validation.items()}
        self.epoch_metrics["learning_rate"] = self._rate
        # FVU is infinite where all validation images are the mean image: no fault of training.
        numbers = {k: v for k, v in self.epoch_metrics.items() if k != "validation/fvu"}
        broken = [k for k, v in numbers.items() if not math.isfinite(v)]
        if broken:
            raise DivergedError(self._divergence(broken))

    def _k(self) -> int | None:
        k, topk = self.autoencoder.architecture.k, self._optimization.topk
        if k is None or topk is None:
            return None
        steps = self.steps_per_epoch * self._optimization.epochs
        return annealed_k(self.steps_done, steps, k, topk)

    def _means(self, output: Output, weight: float) -> Means | None:
        means = self.objective.means(output)
        if means is None:
            return None
        means = self._group.mean(means, weight)
        if not self.objective.spec.uses_rho:
            return means
        if isinstance(means, Mean):
            self._note_largest(means.value.detach().max())
        return self._running_mean.update(means)

    def _note_largest(self, mean: Tensor) -> None:
        # Beyond the NaN that a mean above 1 may lead to: fmax passes over it.
        self._largest_mean = torch.fmax(self._largest_mean, mean.to(self._largest_mean))

    def _revival(self, output: Output, x: Tensor, silent: Tensor) -> Tensor:
        k, topk = self.autoencoder.architecture.k, self._optimization.topk
        if k is None or topk is None:
            raise RuntimeError("only a topk code has units to revive")
        return topk.auxk_coef * auxk_loss(self.autoencoder, output, x, silent, units=k)

    def _noise_generator(self, chunk: int) -> torch.Generator:
        # Of seed, epoch and chunk alone, so that any chunk can be repeated.
        mixed = np.random.SeedSequence([self._seed, self.current_epoch, chunk, 1])
        seed = int(mixed.generate_state(1, np.uint64)[0])
        return torch.Generator().manual_seed(seed >> 1)

    def _corrupted(self, x: Tensor, generator: torch.Generator, share: range, size: int) -> Tensor:
        if self._optimization.noise == 0:
            return x
        # Drawn for the whole mini-batch, so that an image has the same noise in any process.
        noise = torch.randn(size, x.shape[1], generator=generator, dtype=x.dtype)
        return x + self._optimization.noise * noise[share.start :][: len(x)].to(x.device)

    def _set_learning_rate(self, optimizer: Optimizer) -> None:
        settings = self._optimization
        self._rate = settings.learning_rate * lr_factor(
            self.steps_done, self.steps_per_epoch, settings.epochs, settings.schedule
        )
        for group in optimizer.param_groups:
            group["lr"] = self._rate
        self.steps_done += 1

    def _require_finite_sums(self) -> None:
        if not bool(torch.isfinite(self._sums).all()):
            names = self.running_metrics().items()
            raise DivergedError(
                self._divergence([f"train/{k}" for k, v in names if not math.isfinite(v)])
            )

    def _divergence(self, broken: list[str]) -> str:
        message = (
            f"Training has diverged: in epoch {self.current_epoch + 1}"
            f" {', '.join(broken)} {'is' if len(broken) == 1 else 'are'} not finite.\n"
        )
        largest = self._largest_mean.item()
        if self.objective.kind == "kl_tutorial" and largest >= 1:
            return message + (
                f"The mean activation of a unit reached {largest:.3g} over a batch. penalty.kind"
                " kl_tutorial takes log(1 - mean), which is not defined from 1 on: a ReLU code has"
                " no mean that is a probability.\nUse penalty.kind kl_poisson, which is defined"
                " there, or kl with model.code_activation sigmoid. No model was written."
            )
        return message + "Lower training.learning_rate or penalty.beta. No model was written."
