"""Lightning callbacks: the weights to keep, and progress and a progress display."""

import sys
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from rhobeta.training.module import module_of

_PLAIN_LINES = 10


class BestWeights(pl.Callback):
    """Keeps a copy of the weights of the `best` epoch, by validation loss, or of the `last`.

    In memory, unlike Lightning's `ModelCheckpoint`: a training that needs no file writes none, and
    the copy is part of every checkpoint, so that the two never disagree after a crash.
    """

    def __init__(self, keep: str) -> None:
        self.weights: dict[str, Tensor] = {}
        self.epoch = 0
        """The epoch, from 1, of the kept weights; 0 before the first."""
        self.metrics: dict[str, float] = {}
        self._keep = keep

    @property
    def loss(self) -> float:
        """The kept epoch's validation loss, or its training loss without validation images."""
        return self.metrics.get("validation/loss", self.metrics["train/loss"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Copy this epoch's weights if they are the best so far, or the last."""
        module = module_of(pl_module)
        metrics = module.history[-1]
        if (
            self._keep == "last"
            or not self.metrics
            or metrics["validation/loss"] < self.metrics["validation/loss"]
        ):
            weights = module.autoencoder.state_dict()
            self.weights = {name: value.detach().clone() for name, value in weights.items()}
            self.metrics = dict(metrics)
            self.epoch = trainer.current_epoch + 1

    def state_dict(self) -> dict[str, Any]:
        """What is kept so far."""
        return {"weights": self.weights, "epoch": self.epoch, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what was kept."""
        self.weights = state_dict["weights"]
        self.epoch, self.metrics = state_dict["epoch"], state_dict["metrics"]


class Progress(pl.Callback):
    """A bar on a terminal; elsewhere about ten plain lines in all."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        from tqdm import tqdm

        module = module_of(pl_module)
        self._bar = tqdm(
            total=(trainer.max_epochs or 0) * module.steps_per_epoch,
            initial=module.steps_done,
            disable=not (sys.stderr.isatty() and trainer.is_global_zero),
            bar_format="{desc} |{bar}| {elapsed}<{remaining} {postfix}",
        )
        if module.steps_done and trainer.is_global_zero:
            print(f"resuming after {module.steps_done} of {self._bar.total} steps", flush=True)

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
            self._bar.set_postfix_str(_in_words(module_of(pl_module).running_metrics()))
            self._bar.update(len(batch.sizes))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print a plain line where there is no bar."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        due = epoch == 1 or epoch == epochs or epoch % max(1, round(epochs / _PLAIN_LINES)) == 0
        if self._bar.disable and trainer.is_global_zero and due:
            metrics = module_of(pl_module).history[-1]
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
    return module_of(module).history[-1]


def _in_words(metrics: dict[str, float]) -> str:
    return (
        f"loss {metrics['loss']:.5f}, mse {metrics['mse']:.5f}, penalty {metrics['penalty']:.4f},"
        f" mean activation {metrics['mean_activity']:.4f}"
    )
