"""The Lightning callback that brings every epoch's metrics into the run."""

import time
from collections.abc import Mapping

import pytorch_lightning as pl

from rhobeta.tracking.run import Run
from rhobeta.tracking.view import curve_name
from rhobeta.training.module import steps_of

_FLUSH_SECONDS = 2.0
_FIRST = ("validation/mse", "train/mse")


class TrackEpochs(pl.Callback):
    """Logs the metrics of each epoch, sent together at most every two seconds.

    `last_epoch` is the last one that the run has, from a training that was interrupted. Earlier
    epochs that the run lacks are logged; repeated ones have the same values, and are not.
    """

    def __init__(self, run: Run, last_epoch: int = 0) -> None:
        self._run = run
        self._last_epoch = last_epoch
        self._flushed = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what an interrupted training could not send."""
        for epoch, metrics in enumerate(steps_of(pl_module).history, start=1):
            self._note(metrics, epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note this epoch's metrics; send them if some time has passed."""
        self._note(steps_of(pl_module).history[-1], trainer.current_epoch + 1)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self._run.flush()
            self._flushed = time.monotonic()

    def _note(self, metrics: Mapping[str, float], epoch: int) -> None:
        if epoch > self._last_epoch:
            # MLflow's comparison begins with a run's first metric: not the loss, which does not
            # compare between betas.
            ordered = dict.fromkeys((*(name for name in _FIRST if name in metrics), *metrics))
            self._run.buffer_metrics({curve_name(k): metrics[k] for k in ordered}, step=epoch)
