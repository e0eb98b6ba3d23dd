"""Lightning callbacks: the best weights, the history, and progress for the person who waits."""

import csv
import io
import sys
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from rhobeta.training.module import SparseAutoencoderModule

_PLAIN_LINES = 10
_PLOTTED = ("validation/loss", "validation/mse", "validation/penalty")


class KeptWeights(pl.Callback):
    """Keeps a copy of the weights of the `best` epoch, by validation loss, or of the `last`."""

    def __init__(self, keep: str) -> None:
        self.state: dict[str, Tensor] = {}
        self.epoch = 0
        """The epoch, from 1, of the kept weights; 0 before the first."""
        self.metrics: dict[str, float] = {}
        self._keep = keep

    @property
    def loss(self) -> float:
        """The kept epoch's validation loss, or its training loss where nothing was validated."""
        return self.metrics.get("validation/loss", self.metrics["train/loss"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep this epoch's weights if they are to be kept so far."""
        module = _ours(pl_module)
        if (
            self._keep == "last"
            or not self.metrics
            or module.epoch_metrics["validation/loss"] < self.metrics["validation/loss"]
        ):
            weights = module.autoencoder.state_dict()
            self.state = {name: value.detach().clone() for name, value in weights.items()}
            self.metrics = dict(module.epoch_metrics)
            self.epoch = trainer.current_epoch + 1

    def state_dict(self) -> dict[str, Any]:
        """What is kept so far."""
        return {"weights": self.state, "epoch": self.epoch, "metrics": self.metrics}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what was kept."""
        self.state = state_dict["weights"]
        self.epoch, self.metrics = state_dict["epoch"], state_dict["metrics"]


class History(pl.Callback):
    """Collects the metrics of every epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add this epoch's metrics."""
        epoch = {"epoch": trainer.current_epoch + 1}
        self.rows.append(epoch | _ours(pl_module).epoch_metrics)

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the rows so far."""
        self.rows = state_dict["rows"]

    def as_csv(self) -> str:
        """The history as a table; `train/mse` becomes the column `train_mse`.

        Without validation images the columns that DVC's plots name are there all the same, empty.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = dict.fromkeys([*self.rows[0], *_PLOTTED])
        writer.writerow(name.replace("/", "_") for name in names)
        for row in self.rows:
            writer.writerow(f"{row[name]:.9g}" if name in row else "" for name in names)
        return text.getvalue()


class Progress(pl.Callback):
    """A bar on a terminal; elsewhere about ten plain lines in all."""

    def __init__(self) -> None:
        self._bar: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        from tqdm import tqdm

        module = _ours(pl_module)
        self._bar = tqdm(
            total=(trainer.max_epochs or 0) * module.steps_per_epoch,
            initial=module.steps_done,
            disable=not (sys.stderr.isatty() and trainer.is_global_zero),
            bar_format="{desc} |{bar}| {elapsed}<{remaining} {postfix}",
        )
        if module.steps_done and trainer.is_global_zero:
            print(f"goes on after {module.steps_done} of {self._bar.total} steps", flush=True)

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
            self._bar.set_postfix_str(_in_words(_ours(pl_module).running_metrics()))
            self._bar.update(len(batch.sizes))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print a plain line where there is no bar."""
        epoch, epochs = trainer.current_epoch + 1, trainer.max_epochs or 0
        due = epoch == 1 or epoch == epochs or epoch % max(1, round(epochs / _PLAIN_LINES)) == 0
        if self._bar.disable and trainer.is_global_zero and due:
            metrics = _ours(pl_module).epoch_metrics
            train = {k.removeprefix("train/"): v for k, v in metrics.items() if "train/" in k}
            line = f"epoch {epoch}/{epochs}: {_in_words(train)}"
            if "validation/mse" in metrics:
                line += f", validation mse {metrics['validation/mse']:.5f}"
            print(line, flush=True)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Close the bar, also after an error."""
        if self._bar is not None:
            self._bar.close()


def epoch_metrics(module: pl.LightningModule) -> dict[str, float]:
    """Metrics of the epoch that has just ended, by name (`train/mse`, `validation/fvu`)."""
    return _ours(module).epoch_metrics


def epochs_so_far(trainer: pl.Trainer) -> list[tuple[int, dict[str, float]]]:
    """Number, from 1, and metrics of the epochs that a training has behind it."""
    histories = [found for found in _callbacks(trainer) if isinstance(found, History)]
    rows = [row for history in histories for row in history.rows]
    return [(int(row["epoch"]), {k: v for k, v in row.items() if k != "epoch"}) for row in rows]


def _callbacks(trainer: pl.Trainer) -> list[pl.Callback]:
    # The Trainer sets this attribute where type checkers do not see it.
    found: list[pl.Callback] = vars(trainer)["callbacks"]
    return found


def _ours(module: pl.LightningModule) -> SparseAutoencoderModule:
    if not isinstance(module, SparseAutoencoderModule):
        raise TypeError(f"expected a SparseAutoencoderModule, found {type(module).__name__}")
    return module


def _in_words(metrics: dict[str, float]) -> str:
    return (
        f"loss {metrics['loss']:.5f}, mse {metrics['mse']:.5f}, penalty {metrics['penalty']:.4f},"
        f" mean activation {metrics['mean_activity']:.4f}"
    )
