"""The progress display under Lightning."""

from typing import Any

import pytorch_lightning as pl

from rhobeta.training.module import steps_of
from rhobeta.training.progress import ProgressDisplay


class Progress(pl.Callback):
    """Shows the progress in the process of rank 0."""

    def __init__(self) -> None:
        self._display: ProgressDisplay | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the display."""
        if trainer.is_global_zero:
            self._display = ProgressDisplay(steps_of(pl_module), trainer.max_epochs or 0)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance by one chunk of mini-batches."""
        if self._display is not None:
            self._display.advance(len(batch.sizes))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show that an epoch has ended."""
        if self._display is not None:
            self._display.end_epoch()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the display."""
        if self._display is not None:
            self._display.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close it after an error, where Lightning does not call `teardown`."""
        self.teardown(trainer, pl_module, "fit")


def epoch_metrics(module: pl.LightningModule) -> dict[str, float]:
    """Metrics of the epoch that has just ended, by name (`train/mse`, `validation/fvu`)."""
    return steps_of(module).history[-1]
