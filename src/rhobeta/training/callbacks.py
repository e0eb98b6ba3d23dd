"""The progress display of a training."""

import sys
from typing import Any

import pytorch_lightning as pl

from rhobeta.training.module import steps_of

_PLAIN_LINES = 10


class Progress(pl.Callback):
    """A bar on a terminal; elsewhere about ten plain lines in all."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        from tqdm import tqdm

        steps = steps_of(pl_module)
        self._bar = tqdm(
            total=(trainer.max_epochs or 0) * steps.per_epoch,
            initial=steps.done,
            disable=not (sys.stderr.isatty() and trainer.is_global_zero),
            bar_format="{desc} |{bar}| {elapsed}<{remaining} {postfix}",
        )
        if steps.done and trainer.is_global_zero:
            print(f"resuming after {steps.done} of {self._bar.total} steps", flush=True)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Advance the bar by one chunk of mini-batches."""
        if not self._bar.disable:
            self._bar.set_description(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")
            self._bar.set_postfix_str(_in_words(steps_of(pl_module).running_metrics()))
            self._bar.update(len(batch.sizes))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print a plain line where there is no bar."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        due = epoch == 1 or epoch == epochs or epoch % max(1, round(epochs / _PLAIN_LINES)) == 0
        if self._bar.disable and trainer.is_global_zero and due:
            metrics = steps_of(pl_module).history[-1]
            train = {k.removeprefix("train/"): v for k, v in metrics.items() if "train/" in k}
            line = f"epoch {epoch}/{epochs}: {_in_words(train)}"
            if "validation/mse" in metrics:
                line += f", validation mse {metrics['validation/mse']:.5f}"
            print(line, flush=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Close the bar after an error, where Lightning does not call `teardown`."""
        self.teardown(trainer, pl_module, "fit")


def epoch_metrics(module: pl.LightningModule) -> dict[str, float]:
    """Metrics of the epoch that has just ended, by name (`train/mse`, `validation/fvu`)."""
    return steps_of(module).history[-1]


def _in_words(metrics: dict[str, float]) -> str:
    return (
        f"loss {metrics['loss']:.5f}, mse {metrics['mse']:.5f}, penalty {metrics['penalty']:.4f},"
        f" mean activation {metrics['mean_activity']:.4f}"
    )
