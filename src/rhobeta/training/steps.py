"""The optimiser steps of a training and their state, without Lightning.

`SparseAutoencoderModule` runs them under Lightning, `rhobeta.SparseAutoencoder` in a plain loop;
so both give the same weights.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from rhobeta.data.batches import Chunk, rank_slice, to_unit_interval
from rhobeta.errors import RhobetaError
from rhobeta.extensions import ACTIVATION_SPECS
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.auxk import DeadUnitTracker
from rhobeta.model.fixed_order import total
from rhobeta.model.loss import SparseLoss
from rhobeta.model.means import Mean, Means, RunningMean, running_share
from rhobeta.training.adam import adam_step
from rhobeta.training.closed_form import ClosedForm, Measured
from rhobeta.training.measurement import DEAD_THRESHOLD, SplitMeasurement
from rhobeta.training.process_group import ProcessGroup
from rhobeta.training.schedules import annealed_k, lr_factor
from rhobeta.training.sparsity_control import BetaControl, first_beta, rho_of
from rhobeta.utils.adaptive import AdaptiveThreads

if TYPE_CHECKING:
    # Pydantic's sections; the steps read their attributes only.
    from rhobeta.config.sections import FitParams

BATCHES_PER_CHUNK = 32
"""Mini-batches of a chunk: enough work to make the bookkeeping of Lightning's step small."""

VALIDATION_ROWS = 4096
"""Rows of the validation split that are measured at a time."""

ENOUGH_ACTIVE_IMAGES = 10
"""The least rho * batch_size for which a batch's mean activation stands for the whole."""

CLEAN_EVERY = 8
"""Dead units are looked for in every n-th mini-batch, without noise and with the final k."""

PATIENCE = 1000
"""Images without activity after which a unit is dead; an eighth of all where these are fewer."""

CENTRED = ("relu", "topk")
"""The codes that `model.start: auto` starts centred: without it, most of many units die."""
_FACTORS = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of the factors of matrix products, by `training.precision`; else that of the weights."""

_MEASURED = ("loss", "mse", "penalty", "mean_activity")


class DivergedError(RhobetaError):
    """Training diverged to NaN or inf. Resuming would diverge again."""


@dataclass
class KeptEpoch:
    """The epoch whose weights are kept: the best, by validation loss, or the last.

    In memory, unlike Lightning's `ModelCheckpoint`: a training that needs no file writes none, and
    the copy is part of every checkpoint, so that the two never disagree after a crash.
    """

    epoch: int
    """From 1."""
    weights: dict[str, Tensor]
    metrics: dict[str, float]
    """As in `TrainingSteps.history`."""

    @property
    def loss(self) -> float:
        """Its validation loss, or its training loss without validation images."""
        return self.metrics.get("validation/loss", self.metrics["train/loss"])


class TrainingSteps:
    """Trains an `Autoencoder` on chunks of mini-batches.

    `take` steps the optimiser once for each mini-batch of a chunk. Sums stay on the device. They
    are checked for NaN and inf once a chunk, and read once an epoch.

    Where rho * batch_size is below 10, a penalty on a mean activation is that of a running mean;
    an epoch's last mini-batch, which may be shorter, counts there as any other.

    `images` is the number of training images. `start` has to be called before the first step.
    """

    def __init__(
        self, params: "FitParams", autoencoder: Autoencoder, sparse_loss: SparseLoss, *, images: int
    ) -> None:
        self.autoencoder = autoencoder
        self.sparse_loss = sparse_loss
        self.history: list[dict[str, float]] = []
        """Of every completed epoch: its metrics `train/...`, `validation/...`, `learning_rate`.

        Without validation images there are no `validation/...`.
        """
        self._kept: KeptEpoch | None = None
        self.per_epoch = math.ceil(images / params.training.batch_size)
        self.done = 0
        """Optimiser steps so far, including those before a resume."""
        self.group = ProcessGroup()
        self.exact = torch.float32
        """The type of the weights, in which the loss is computed."""
        self.threads: AdaptiveThreads | None = None
        """What is told of every mini-batch, and may change the number of CPU threads."""
        self._params = params
        self._settings = params.training
        self._takes_k = autoencoder.architecture.k is not None
        self._device = torch.device("cpu")
        self._sums = torch.zeros(len(_MEASURED), dtype=torch.float64)
        self._images_seen = 0
        self._learning_rate = 0.0
        self._control = BetaControl(
            params.penalty,
            units=autoencoder.architecture.units,
            steps_per_epoch=self.per_epoch,
            epochs=params.training.epochs,
            every=CLEAN_EVERY if params.training.noise > 0 else 1,
        )
        share = 1.0
        if sparse_loss.spec.uses_rho:
            size = min(self._settings.batch_size, images)
            share = running_share(float(sparse_loss.rho), size, ENOUGH_ACTIVE_IMAGES)
        self._running_mean = RunningMean(share)
        self._largest_mean = torch.zeros(())
        self._dead_units: DeadUnitTracker | None = None
        self._auxk = self._takes_k and params.topk.auxk_coef > 0
        # Both at once let lifted units take the places of better ones.
        self._bias_lift = 0.0 if self._auxk else self._settings.bias_lift
        self._closed_form: ClosedForm | None = None
        self._patience = min(PATIENCE, images // CLEAN_EVERY)

    def new_optimizer(self) -> Optimizer:
        """Adam with its usual moments; fused, which computes the same in one pass.

        Weight decay is the gradient of lambda / 2 * |W|^2, added before the moments as in CS294A;
        it is not part of the loss that is logged. Called once the network is on its device.
        """
        parameters = list(self.autoencoder.parameters())
        groups = [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": self._settings.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        settings = self._settings
        topk = self._params.topk
        self._closed_form = ClosedForm(
            self.autoencoder,
            self.sparse_loss,
            self._combined,
            auxk=(topk.auxk_coef, topk.k) if self._takes_k else (0.0, 0),
            dtype=_FACTORS.get(settings.precision),
        )
        return Adam(groups, lr=settings.learning_rate, eps=settings.epsilon, fused=True)

    def start(
        self, device: torch.device, group: ProcessGroup, state: dict[str, Any] | None = None
    ) -> None:
        """Create what lives on the device, or restore it from `state_dict`'s `state`."""
        self.group = group
        self.exact = next(self.autoencoder.parameters()).dtype
        self._device = device
        self._largest_mean = torch.zeros((), device=device)
        if self._auxk or self._bias_lift > 0:
            units = self.autoencoder.architecture.units
            self._dead_units = DeadUnitTracker(units, self._patience, device)
        if state is not None:
            self._restore(state)
        elif self._params.model.unit_norm_decoder:
            self.autoencoder.normalize_decoder()

    def start_epoch(self) -> None:
        """Start the epoch's sums at zero."""
        # Apple's GPUs have no float64.
        dtype = torch.float32 if self._device.type == "mps" else torch.float64
        self._sums = torch.zeros(len(_MEASURED), dtype=dtype, device=self._device)
        self._images_seen = 0

    @torch.no_grad()
    def take(self, chunk: Chunk, number: int, optimizer: Optimizer) -> None:
        """One optimiser step for each mini-batch of the epoch's chunk `number`, from 0.

        `optimizer` is that of `new_optimizer`.
        """
        if self._closed_form is None:
            raise RuntimeError("new_optimizer has not been called")
        if self.threads is not None:
            self.threads.resume()
        noise = self._noise_generator(number)
        inactive = self._inactive_units()
        found, betas, activities, shares = [], [], [], []
        for images, size in zip(
            torch.split(chunk.images, list(chunk.rows)), chunk.sizes, strict=True
        ):
            share = rank_slice(size, self.group.rank, self.group.size)
            x = to_unit_interval(images, self.exact)
            given = self._corrupted(x, noise, share, size)
            self.sparse_loss.beta = self._control.beta(self.done)
            step, code = self._closed_form(
                x, given, k=self._k(), inactive=inactive, weight=len(share) / size
            )
            self.group.total(self._closed_form.gradient)
            self._step(optimizer)
            self._note_activity(x[: len(share)], code[: len(share)], size)
            found.append(step)
            betas.append(float(self.sparse_loss.beta))
            activities.append(self.autoencoder.activity(code).mean(1))
            shares.append(len(share))
            if self.threads is not None:
                self.threads.step(len(share))
        self._add_to_sums(found, betas, activities, shares, sum(chunk.sizes))

    def _note_activity(self, x: Tensor, code: Tensor, size: int) -> None:
        """Note how active the code of a mini-batch of `size` samples is without noise.

        `x` is this process's share, `code` its code. A unit that only noise or an annealed k
        activates is dead, and noise changes the mean activation; so with these, every eighth
        mini-batch is encoded once more as the trained network will.
        """
        step = self.done - 1
        clean = self._settings.noise == 0
        looks = step % self.per_epoch % CLEAN_EVERY == 0
        tracks = self._dead_units is not None and looks
        controls = self._control.controls and (clean or looks)
        activity = None
        if tracks or controls:
            if self._takes_k or not clean:
                code = self.autoencoder.encode(x)
            values = self.autoencoder.activity(code)
            if tracks and self._dead_units is not None:
                active = (values > DEAD_THRESHOLD).any(0)
                self._dead_units.update(self.group.any(active), size)
            if controls:
                if (above := self._params.penalty.target_above) is not None:
                    values = (values > above).to(values.dtype)
                shares = self.group.total(total(values.mean(1).to(self._sums.dtype)))
                activity = shares.item() / size
        self._control.update(step, activity)

    def _step(self, optimizer: Optimizer) -> None:
        settings = self._settings
        self._learning_rate = settings.learning_rate * lr_factor(
            self.done, self.per_epoch, settings.epochs, settings.schedule
        )
        for group in optimizer.param_groups:
            group["lr"] = self._learning_rate
        adam_step(optimizer)
        if self._dead_units is not None and self._bias_lift > 0:
            lift = self._bias_lift * self._learning_rate
            self.autoencoder.lift_biases(self._dead_units.mask, lift)
        if self._params.model.unit_norm_decoder:
            self.autoencoder.normalize_decoder()
        self.done += 1

    def _add_to_sums(
        self,
        found: list[Measured],
        betas: list[float],
        activities: list[Tensor],
        shares: list[int],
        images: int,
    ) -> None:
        # Sums over a chunk's images; a penalty, which is a mini-batch's, counts for each of them.
        def summed(values: Iterable[Tensor]) -> Tensor:
            mine = [part[:share] for part, share in zip(values, shares, strict=True)]
            return total(torch.cat(mine).to(self._sums.dtype))

        features = self.autoencoder.architecture.features
        error = summed(step.squared_error for step in found) / features
        loss = error
        if self.sparse_loss.pixel_loss != "mse":
            loss = summed(step.pixel_loss for step in found) / features
        penalty = torch.zeros_like(error)
        if found[0].penalty is not None:
            of_batches = torch.stack([cast(Tensor, step.penalty) for step in found])
            parts = of_batches.to(self._sums.dtype) * error.new_tensor(shares)
            penalty = total(parts)
            if self._control.changes:
                loss = loss + total(parts * error.new_tensor(betas))
            else:
                loss = loss + betas[0] * penalty
        self._sums += self.group.total(torch.stack([loss, error, penalty, summed(activities)]))
        self._images_seen += images
        if not bool(torch.isfinite(self._sums).all()):
            self._require_finite({f"train/{k}": v for k, v in self.running_metrics().items()})

    def running_metrics(self) -> dict[str, float]:
        """Means over the images of the current epoch so far."""
        means = (self._sums / max(self._images_seen, 1)).tolist()
        return dict(zip(_MEASURED, means, strict=True))

    def complete_epoch(self, validation: dict[str, float]) -> None:
        """Add the epoch to `history`, and keep its weights where they are the best so far.

        `validation` holds the metrics of the validation split; it is empty where there is none.
        """
        metrics = {f"train/{k}": v for k, v in self.running_metrics().items()}
        metrics |= {f"validation/{k}": v for k, v in validation.items()}
        metrics["learning_rate"] = self._learning_rate
        metrics |= self._control.as_metrics(self.done)
        # FVU is infinite where all validation images are the mean image: not a divergence.
        self._require_finite({k: v for k, v in metrics.items() if k != "validation/fvu"})
        self.history.append(metrics)
        if (
            self._settings.keep == "last"
            or self._kept is None
            # Losses of two betas do not compare: until beta stays, the newest epoch is kept.
            or metrics.get("beta") != self._kept.metrics.get("beta")
            or metrics["validation/loss"] < self._kept.metrics["validation/loss"]
        ):
            weights = self.autoencoder.state_dict()
            copies = {name: value.detach().clone() for name, value in weights.items()}
            self._kept = KeptEpoch(len(self.history), copies, dict(metrics))

    @property
    def kept(self) -> KeptEpoch:
        """The epoch that is kept so far. Raises `RuntimeError` before the first has ended."""
        if self._kept is None:
            raise RuntimeError("no epoch has ended")
        return self._kept

    def kept_model(self) -> Autoencoder:
        """The network with the kept weights, on the CPU, in evaluation mode."""
        model = Autoencoder(self.autoencoder.architecture).to(self.exact)
        model.load_state_dict(self.kept.weights)
        return model.eval()

    def start_validation(self, mean_image: Tensor) -> None:
        """Start the statistics of the validation split.

        `mean_image` is the mean of the training images in [0, 1] (shape: [pixels]), which the
        fraction of variance unexplained refers to.
        """
        penalty = self._params.penalty
        uses_rho = self.sparse_loss.spec.uses_rho and penalty.target is None
        self._split = SplitMeasurement(
            self.sparse_loss,
            mean_image,
            rho=penalty.rho if uses_rho else None,
            also_above=penalty.target_above,
        )

    @torch.no_grad()
    def validate(self, images: Tensor) -> None:
        """Add a piece of the validation split (shape: [images, pixels])."""
        if len(images) == 0:
            return
        # Whatever precision training uses, the model is measured as it is kept.
        x = to_unit_interval(images, self.exact)
        output = self.autoencoder(x)
        self._split.update(x, output, self.autoencoder.activity(output.code))

    def end_validation(self) -> None:
        """Complete the epoch's record with the statistics of the whole split."""
        split = self.group.joined(self._split.on_cpu(), SplitMeasurement.add)
        if (largest := split.largest_mean) is not None:
            self._note_largest(torch.as_tensor(largest))
        self.complete_epoch(split.metrics(self.autoencoder))

    def state_dict(self) -> dict[str, Any]:
        """All that `start` restores: plain values and tensors."""
        return {
            "history": self.history,
            "kept": None if self._kept is None else vars(self._kept),
            "sums": self._sums,
            "images_seen": self._images_seen,
            "steps_done": self.done,
            "learning_rate": self._learning_rate,
            "running_mean": self._running_mean.state_dict(),
            "largest_mean": self._largest_mean,
            "beta": self._control.state_dict(),
            "dead_units": None if self._dead_units is None else self._dead_units.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.history = state["history"]
        self._kept = None if state["kept"] is None else KeptEpoch(**state["kept"])
        self._sums = state["sums"].to(self._device)
        self._images_seen = state["images_seen"]
        self.done = state["steps_done"]
        self._learning_rate = state["learning_rate"]
        self._running_mean.load_state_dict(state["running_mean"], self._device)
        self._largest_mean = state["largest_mean"].to(self._device)
        self._control.load_state_dict(state["beta"])
        self.sparse_loss.beta = self._control.beta(max(0, self.done - 1))
        if self._dead_units is not None:
            self._dead_units.load_state_dict(state["dead_units"])

    def _k(self) -> int | None:
        if not self._takes_k:
            return None
        steps = self.per_epoch * self._settings.epochs
        return annealed_k(self.done, steps, self._params.topk)

    def _inactive_units(self) -> Tensor | None:
        # Asked once a chunk, since the answer has to come from the device.
        mask = None if self._dead_units is None else self._dead_units.mask
        return mask if mask is not None and bool(mask.any()) else None

    def _combined(self, means: Means | None, weight: float) -> Means | None:
        """The means that the penalty is a function of, from those of this process's share."""
        if means is None:
            return None
        means = self.group.mean(means, weight)
        if not self.sparse_loss.spec.uses_rho:
            return means
        if isinstance(means, Mean):
            self._note_largest(means.value.detach().max())
        return self._running_mean.update(means)

    def _note_largest(self, mean: Tensor) -> None:
        # fmax passes over NaN, so it keeps the mean above 1 that led to it.
        self._largest_mean = torch.fmax(self._largest_mean, mean.to(self._largest_mean))

    @property
    def _epoch(self) -> int:
        # In the last step of an epoch it is not completed yet.
        return len(self.history)

    def _noise_generator(self, chunk: int) -> torch.Generator:
        # From seed, epoch and chunk alone, so that any chunk can be repeated.
        mixed = np.random.SeedSequence([self._settings.seed, self._epoch, chunk, 1])
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
            f"Training has diverged: in epoch {self._epoch + 1}"
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


def new_steps(
    params: "FitParams", sample_shape: tuple[int, ...], mean_image: Tensor, *, images: int
) -> TrainingSteps:
    """The steps of a new training, with its initial weights.

    `mean_image` is the mean of the `images` training images of `sample_shape`, in [0, 1] (shape:
    [pixels]).
    """
    # Nothing that is shipped draws from it, but an extension may.
    torch.manual_seed(params.training.seed)
    autoencoder = Autoencoder(architecture_of(params, sample_shape), seed=params.training.seed)
    start = params.model.start
    if start == "centred" or (start == "auto" and params.model.code_activation in CENTRED):
        autoencoder.center_on(mean_image)
    return TrainingSteps(params, autoencoder, loss_of(params), images=images)


def architecture_of(params: "FitParams", sample_shape: tuple[int, ...]) -> Architecture:
    """The network that the parameters ask for, for samples of `sample_shape`."""
    model = params.model
    return Architecture(
        sample_shape=sample_shape,
        hidden_sizes=tuple(model.hidden_sizes),
        code_activation=model.code_activation,
        hidden_activation=model.hidden_activation,
        output_activation=model.output_activation,
        tied_weights=model.tied_weights,
        k=params.topk.k if ACTIVATION_SPECS[model.code_activation].takes_k else None,
    )


def loss_of(params: "FitParams") -> SparseLoss:
    """The loss that the parameters ask training to minimise."""
    units = params.model.hidden_sizes[-1]
    return SparseLoss(
        kind=params.penalty.kind,
        code_activation=params.model.code_activation,
        rho=rho_of(params.penalty, units),
        beta=first_beta(params.penalty, units),
        pixel_loss=params.training.pixel_loss,
    )
