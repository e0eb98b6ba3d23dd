"""The Lightning callback that brings every epoch's metrics into the run."""

import time
from collections.abc import Mapping

import pytorch_lightning as pl

from rhobeta.tracking.run import Run
from rhobeta.training.module import module_of

_FLUSH_SECONDS = 2.0


class TrackEpochs(pl.Callback):
    """Logs the metrics of each epoch, sent together at most every two seconds.

    `logged` says up to which epoch the run has each metric already, from a try that was cut off.
    Of the epochs that came before the state that training goes on from, what the run lacks is
    logged; what is gone through again has the same values, and is not logged twice.
    """

    def __init__(self, run: Run, logged: Mapping[str, int] | None = None) -> None:
        self._run = run
        self._logged = logged or {}
        self._flushed = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what a try that was cut off could not send any more."""
        for epoch, metrics in enumerate(module_of(pl_module).history, start=1):
            self._note(metrics, epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note this epoch's metrics; send them if some time has passed."""
        self._note(module_of(pl_module).history[-1], trainer.current_epoch + 1)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._run.flush()
            self._flushed = time.monotonic()

    def _note(self, metrics: Mapping[str, float], epoch: int) -> None:
        new = {k: v for k, v in metrics.items() if epoch > self._logged.get(k, 0)}
        self._run.buffer_metrics(new, step=epoch)
