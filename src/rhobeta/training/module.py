"""The Lightning module: what happens in an optimiser step, and what an epoch records."""

import math
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from rhobeta.config.sections import FitParams
from rhobeta.data.batches import Chunk, rank_slice, to_unit_interval
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Autoencoder, Output
from rhobeta.model.auxk import DeadUnitTracker, auxk_loss
from rhobeta.model.loss import LossTerms, SparseLoss
from rhobeta.model.means import Mean, Means, RunningMean, running_share
from rhobeta.training.measurement import SplitMeasurement
from rhobeta.training.process_group import ProcessGroup
from rhobeta.training.schedules import annealed_k, lr_factor

ENOUGH_ACTIVE_IMAGES = 10
"""The least rho * batch_size for which a batch's mean activation stands for the whole."""

_MEASURED = ("loss", "mse", "penalty", "mean_activity")


class DivergedError(RhobetaError):
    """Training diverged to NaN or inf. Resuming would diverge again."""


class SparseAutoencoderModule(pl.LightningModule):
    """Trains an `Autoencoder` on chunks of mini-batches.

    Optimisation is manual: `training_step` takes a chunk of mini-batches (bytes of shape
    [images, pixels]) and steps the optimiser once for each, which keeps Lightning's bookkeeping
    out of the single step. Sums stay on the device. They are checked for NaN and inf once a chunk,
    and read once an epoch.

    Where rho * batch_size is below 10, a penalty on a mean activation is that of a running mean;
    an epoch's last mini-batch, which may be shorter, counts there as any other.

    `train_images` is the number of training images; `mean_image` is their mean in [0, 1] (shape:
    [pixels]), which the fraction of variance unexplained refers to.
    """

    def __init__(
        self,
        params: FitParams,
        autoencoder: Autoencoder,
        sparse_loss: SparseLoss,
        *,
        train_images: int,
        mean_image: Tensor,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.autoencoder = autoencoder
        self.sparse_loss = sparse_loss
        self.history: list[dict[str, float]] = []
        """Of every completed epoch: its metrics `train/...`, `validation/...`, `learning_rate`.

        Without validation images there are no `validation/...`.
        """
        self.steps_per_epoch = math.ceil(train_images / params.training.batch_size)
        self.steps_done = 0
        """Optimiser steps so far, including those before a resume."""
        self._params = params
        self._settings = params.training
        self._takes_k = autoencoder.architecture.k is not None
        self._group = ProcessGroup()
        self._exact = torch.float32
        self._restored: dict[str, Any] | None = None
        self._mean_image = mean_image
        self._sums = torch.zeros(len(_MEASURED), dtype=torch.float64)
        self._images_seen = 0
        self._learning_rate = 0.0
        share = 1.0
        if sparse_loss.spec.uses_rho:
            size = min(self._settings.batch_size, train_images)
            share = running_share(float(sparse_loss.rho), size, ENOUGH_ACTIVE_IMAGES)
        self._running_mean = RunningMean(share)
        self._largest_mean = torch.zeros(())
        self._dead_units: DeadUnitTracker | None = None
        self._patience = train_images

    def configure_optimizers(self) -> Optimizer:
        """Adam with its usual moments; fused, which computes the same in one pass.

        Weight decay is the gradient of lambda / 2 * |W|^2, added before the moments as in CS294A;
        it is not part of the loss that is logged.
        """
        weights = [p for p in self.parameters() if p.ndim > 1]
        biases = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": weights, "weight_decay": self._settings.weight_decay},
            {"params": biases, "weight_decay": 0.0},
        ]
        settings = self._settings
        return Adam(groups, lr=settings.learning_rate, eps=settings.epsilon, fused=True)

    def on_fit_start(self) -> None:
        """Create what lives on the device, or restore it from a checkpoint."""
        self._group = ProcessGroup(self.trainer.global_rank, self.trainer.world_size)
        self._exact = next(self.autoencoder.parameters()).dtype
        self._largest_mean = torch.zeros((), device=self.device)
        if self._takes_k and self._params.topk.auxk_coef > 0:
            units = self.autoencoder.architecture.units
            self._dead_units = DeadUnitTracker(units, self._patience, self.device)
        if self._restored is not None:
            self._restore(self._restored)
        elif self._params.model.unit_norm_decoder:
            self.autoencoder.normalize_decoder()

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums at zero."""
        # Apple's GPUs have no float64.
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        self._sums = torch.zeros(len(_MEASURED), dtype=dtype, device=self.device)
        self._images_seen = 0

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        """One optimiser step for each mini-batch in `chunk`."""
        optimizer = cast(Optimizer, self.optimizers())
        noise = self._noise_generator(batch_idx)
        inactive = self._inactive_units()
        measured, shares = [], []
        for images, size in zip(
            torch.split(chunk.images, list(chunk.rows)), chunk.sizes, strict=True
        ):
            share = rank_slice(size, self._group.rank, self._group.size)
            x = to_unit_interval(images, self._exact)
            output = self.autoencoder(self._corrupted(x, noise, share, size), k=self._k())
            terms, loss = self._losses(output, x, inactive, len(share) / size)
            self._optimizer_step(optimizer, loss)
            code = output.code.detach()
            if self._dead_units is not None:
                active = (code[: len(share)] > 0).any(0)
                self._dead_units.update(self._group.any(active), size)
            activity = self.autoencoder.activity(code).mean()
            measured += [*(value.detach() for value in terms), activity]
            shares.append(len(share))
        self._add_to_sums(torch.stack(measured).reshape(len(shares), -1), shares, sum(chunk.sizes))
        if not self._validates and batch_idx + 1 == self.trainer.num_training_batches:
            self._complete_epoch({})

    def _losses(
        self, output: Output, x: Tensor, inactive: Tensor | None, weight: float
    ) -> tuple[LossTerms, Tensor]:
        """The terms that are logged, and the loss whose gradient is taken.

        `weight` is the fraction of the mini-batch that this process has. Gradients are averaged
        over the processes, so a loss times weight * processes gives the mini-batch's gradient.
        """
        with torch.autocast(self.device.type, enabled=False):
            output = Output(*(values.to(self._exact) for values in output))
            means = self._means(output, weight)
            terms = self.sparse_loss(output, x, self.autoencoder.weights(), means)
            loss = terms.loss
            if inactive is not None:
                topk = self._params.topk
                auxk = auxk_loss(self.autoencoder, output, x, inactive, units=topk.k)
                loss = loss + topk.auxk_coef * auxk
        return terms, loss if self._group.size == 1 else loss * (weight * self._group.size)

    def _optimizer_step(self, optimizer: Optimizer, loss: Tensor) -> None:
        settings = self._settings
        self._learning_rate = settings.learning_rate * lr_factor(
            self.steps_done, self.steps_per_epoch, settings.epochs, settings.schedule
        )
        for group in optimizer.param_groups:
            group["lr"] = self._learning_rate
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        if self._params.model.unit_norm_decoder:
            self.autoencoder.normalize_decoder()
        self.steps_done += 1

    def _add_to_sums(self, values: Tensor, shares: list[int], images: int) -> None:
        # One sum a chunk, weighted by the sizes of its mini-batches (shape: [batches, measured]).
        values = values.to(self._sums.dtype)
        self._sums += self._group.total(values.new_tensor(shares) @ values)
        self._images_seen += images
        if not bool(torch.isfinite(self._sums).all()):
            self._require_finite({f"train/{k}": v for k, v in self.running_metrics().items()})

    def running_metrics(self) -> dict[str, float]:
        """Means over the images of the current epoch so far."""
        means = (self._sums / max(self._images_seen, 1)).tolist()
        return dict(zip(_MEASURED, means, strict=True))

    def on_validation_epoch_start(self) -> None:
        """Start the statistics of the validation split."""
        self._split = SplitMeasurement(self.sparse_loss, self._mean_image)

    def validation_step(self, images: Tensor, batch_idx: int) -> None:
        """Accumulate the statistics of a piece of the validation split."""
        if len(images) == 0:
            return
        x = to_unit_interval(images, self._exact)
        # Whatever precision training uses, the model is measured as it is kept.
        with torch.autocast(self.device.type, enabled=False):
            output = self.autoencoder(x)
            self._split.update(x, output, self.autoencoder.activity(output.code))

    def on_validation_epoch_end(self) -> None:
        """Complete the epoch's record with the statistics of the whole split."""
        self._split = self._group.joined(self._split.on_cpu(), SplitMeasurement.add)
        if (largest := self._split.largest_mean) is not None:
            self._note_largest(torch.as_tensor(largest))
        self._complete_epoch(self._split.metrics(self.autoencoder))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of: plain values and tensors."""
        checkpoint["rhobeta"] = {
            "history": self.history,
            "sums": self._sums,
            "images_seen": self._images_seen,
            "steps_done": self.steps_done,
            "learning_rate": self._learning_rate,
            "running_mean": self._running_mean.state_dict(),
            "largest_mean": self._largest_mean,
            "dead_units": None if self._dead_units is None else self._dead_units.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note a checkpoint until the device is known."""
        self._restored = checkpoint["rhobeta"]

    def _restore(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self._sums = state["sums"].to(self.device)
        self._images_seen = state["images_seen"]
        self.steps_done = state["steps_done"]
        self._learning_rate = state["learning_rate"]
        self._running_mean.load_state_dict(state["running_mean"], self.device)
        self._largest_mean = state["largest_mean"].to(self.device)
        if self._dead_units is not None:
            self._dead_units.load_state_dict(state["dead_units"])

    @property
    def _validates(self) -> bool:
        return bool(sum(self.trainer.num_val_batches))

    def _complete_epoch(self, validation: dict[str, float]) -> None:
        metrics = {f"train/{k}": v for k, v in self.running_metrics().items()}
        metrics |= {f"validation/{k}": v for k, v in validation.items()}
        metrics["learning_rate"] = self._learning_rate
        # FVU is infinite where all validation images are the mean image: not a divergence.
        self._require_finite({k: v for k, v in metrics.items() if k != "validation/fvu"})
        self.history.append(metrics)

    def _k(self) -> int | None:
        if not self._takes_k:
            return None
        steps = self.steps_per_epoch * self._settings.epochs
        return annealed_k(self.steps_done, steps, self._params.topk)

    def _inactive_units(self) -> Tensor | None:
        # Asked once a chunk, since the answer has to come from the device.
        mask = None if self._dead_units is None else self._dead_units.mask
        return mask if mask is not None and bool(mask.any()) else None

    def _means(self, output: Output, weight: float) -> Means | None:
        means = self.sparse_loss.means(output)
        if means is None:
            return None
        means = self._group.mean(means, weight)
        if not self.sparse_loss.spec.uses_rho:
            return means
        if isinstance(means, Mean):
            self._note_largest(means.value.detach().max())
        return self._running_mean.update(means)

    def _note_largest(self, mean: Tensor) -> None:
        # fmax passes over NaN, so it keeps the mean above 1 that led to it.
        self._largest_mean = torch.fmax(self._largest_mean, mean.to(self._largest_mean))

    def _noise_generator(self, chunk: int) -> torch.Generator:
        # From seed, epoch and chunk alone, so that any chunk can be repeated.
        mixed = np.random.SeedSequence([self._settings.seed, self.current_epoch, chunk, 1])
        seed = int(mixed.generate_state(1, np.uint64)[0])
        return torch.Generator().manual_seed(seed >> 1)

    def _corrupted(self, x: Tensor, generator: torch.Generator, share: range, size: int) -> Tensor:
        if self._settings.noise == 0:
            return x
        # Drawn for the whole mini-batch, so that an image has the same noise in any process.
        noise = torch.randn(size, x.shape[1], generator=generator, dtype=x.dtype)
        return x + self._settings.noise * noise[share.start :][: len(x)].to(x.device)

    def _require_finite(self, metrics: dict[str, float]) -> None:
        broken = [name for name, value in metrics.items() if not math.isfinite(value)]
        if not broken:
            return
        message = (
            f"Training has diverged: in epoch {self.current_epoch + 1}"
            f" {', '.join(broken)} {'is' if len(broken) == 1 else 'are'} not finite.\n"
        )
        largest = self._largest_mean.item()
        if self.sparse_loss.kind == "kl_tutorial" and largest >= 1:
            raise DivergedError(
                f"{message}The mean activation of a unit reached {largest:.3g} over a batch."
                " penalty.kind kl_tutorial takes log(1 - mean), which is not defined from 1 on: a"
                " ReLU code has no mean that is a probability.\nUse penalty.kind kl_poisson, which"
                " is defined there, or kl with model.code_activation sigmoid. No model was written."
            )
        raise DivergedError(
            f"{message}Lower training.learning_rate or penalty.beta. No model was written."
        )


def module_of(module: pl.LightningModule) -> SparseAutoencoderModule:
    """The module that Lightning hands to a callback, with its type. Raises `TypeError`."""
    if not isinstance(module, SparseAutoencoderModule):
        raise TypeError(f"expected a SparseAutoencoderModule, found {type(module).__name__}")
    return module
