"""The Lightning callback that brings every epoch's metrics into the run."""

import time

import pytorch_lightning as pl

from rhobeta.tracking.run import Run
from rhobeta.training.callbacks import epoch_metrics

_FLUSH_SECONDS = 2.0


class TrackEpochs(pl.Callback):
    """Logs the metrics of each epoch, sent together at most every two seconds."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._flushed = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note this epoch's metrics; send them if some time has passed."""
        self._run.buffer_metrics(epoch_metrics(pl_module), step=trainer.current_epoch + 1)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._run.flush()
            self._flushed = time.monotonic()
