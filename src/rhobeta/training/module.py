"""The Lightning module: the steps of a training, and the statistics of the validation split."""

from typing import Any, cast

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer

from rhobeta.data.batches import Chunk
from rhobeta.training.process_group import ProcessGroup
from rhobeta.training.steps import TrainingSteps


class SparseAutoencoderModule(pl.LightningModule):
    """Runs `steps` under Lightning, and measures the validation split after every epoch.

    Optimisation is manual: `training_step` takes a chunk of mini-batches (bytes of shape
    [rows, features]) and steps the optimiser once for each, which keeps Lightning's bookkeeping
    out of the single step.

    `mean_image` is the mean of the training images in [0, 1] (shape: [pixels]), which the fraction
    of variance unexplained refers to.
    """

    def __init__(self, steps: TrainingSteps, mean_image: Tensor) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.autoencoder = steps.autoencoder
        self.steps = steps
        self._mean_image = mean_image
        self._restored: dict[str, Any] | None = None

    def configure_optimizers(self) -> Optimizer:
        """Adam over the weights and biases."""
        return self.steps.new_optimizer()

    def on_fit_start(self) -> None:
        """Create what lives on the device, or restore it from a checkpoint."""
        group = ProcessGroup(self.trainer.global_rank, self.trainer.world_size)
        self.steps.start(self.device, group, self._restored)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums at zero."""
        self.steps.start_epoch()

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        """One optimiser step for each mini-batch in `chunk`."""
        optimizer = cast(Optimizer, self.optimizers(use_pl_optimizer=False))
        self.steps.take(chunk, batch_idx, optimizer)
        last = batch_idx + 1 == self.trainer.num_training_batches
        if last and not sum(self.trainer.num_val_batches):
            self.steps.complete_epoch({})

    def on_validation_epoch_start(self) -> None:
        """Start the statistics of the validation split."""
        self.steps.start_validation(self._mean_image)

    def validation_step(self, images: Tensor, batch_idx: int) -> None:
        """Accumulate the statistics of a piece of the validation split."""
        self.steps.validate(images)

    def on_validation_epoch_end(self) -> None:
        """Complete the epoch's record with the statistics of the whole split."""
        self.steps.end_validation()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know of: plain values and tensors."""
        checkpoint["rhobeta"] = self.steps.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note a checkpoint until the device is known."""
        self._restored = checkpoint["rhobeta"]


def steps_of(module: pl.LightningModule) -> TrainingSteps:
    """The steps of the module that Lightning hands to a callback. Raises `TypeError`."""
    if not isinstance(module, SparseAutoencoderModule):
        raise TypeError(f"expected a SparseAutoencoderModule, found {type(module).__name__}")
    return module.steps
