"""Checkpoints: an interrupted training resumes from the last one, bit for bit.

A checkpoint holds all that the rest of the training depends on: weights, the optimiser's moments,
the position in the epoch's permutation, the module's sums, counters and history, the best weights,
and torch's random state. It is taken between two chunks of mini-batches or between two epochs.
"""

import os
import signal
import threading
import time
import zipfile
from pathlib import Path
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO

from rhobeta.training.process_group import ProcessGroup
from rhobeta.utils.files import atomic_write
from rhobeta.utils.signals import end_as_asked

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


_ONE_SIGNAL_SECONDS = 1.0


class CheckpointFile(CheckpointIO):
    """Lightning's plugin for reading and writing, with one file that is replaced as a whole.

    Lightning's own plugin, `TorchCheckpointIO`, moves files from the system's temporary folder,
    which is not atomic across disks; and each process reads its own file, which other nodes do not
    have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content: dict[str, Any] | None = None
        """The checkpoint to resume from; None to start from the beginning."""

    def read(self) -> dict[str, Any] | None:
        """The checkpoint in the file; None where there is none, or a damaged one, with a note.

        Only tensors and plain values are read (`weights_only`), so no code in the file can run.
        """
        if not self.path.is_file():
            return None
        try:
            # torch.save writes a zip archive but torch.load does not compare its checksums.
            with zipfile.ZipFile(self.path) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"wrong checksum of {damaged}")  # noqa: TRY301
            found: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except Exception as error:
            # Whatever a damaged file raises, training can do without it.
            reason = str(error).partition("\n")[0]
            print(f"note: {self.path} is damaged ({reason}); training starts from the beginning")
            return None
        return found

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Replace the file by `checkpoint`; Lightning calls this in the process of rank 0."""
        with atomic_write(self.path) as partial:
            torch.save(checkpoint, partial)

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint to resume from. Raises `FileNotFoundError` where there is none."""
        if self.content is None:
            raise FileNotFoundError(path)
        return self.content

    def remove_checkpoint(self, path: Any) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


class PeriodicCheckpoint(pl.callbacks.Checkpoint):
    """Saves a checkpoint every `seconds`; on a signal saves a last one and ends the training.

    Lightning's `ModelCheckpoint` does neither here: with manual optimisation it ignores
    `train_time_interval`, and its `save_on_exception` saves wherever the signal came, also in the
    middle of a step. As a `Checkpoint`, this one is called after all other callbacks.

    The first SIGINT or SIGTERM ends the training after the present chunk of mini-batches, in all
    of its processes, unless it ends there anyway; a second one, more than a second later, ends it
    at once. The same holds if the launcher of several processes is gone.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._signal, self._asked = 0, 0.0
        self._saved = time.monotonic()
        self._parent = os.getppid()
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start to handle signals and to count the time."""
        self._saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the signal handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """After a chunk of mini-batches, but for an epoch's last: validation follows that one."""
        if batch_idx + 1 < trainer.num_training_batches:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Between two epochs."""
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._save_if_due(trainer)

    def end_if_asked(self) -> None:
        """Raise `KeyboardInterrupt` or `EndedBySignal` if a signal has come."""
        if self._signal:
            end_as_asked(self._signal)

    def state_dict(self) -> dict[str, Any]:
        """Torch's random state, for extensions that draw from it."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore torch's random state."""
        torch.set_rng_state(state_dict["cpu"])
        if len(state_dict["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state_dict["cuda"])

    def _save_if_due(self, trainer: pl.Trainer) -> None:
        if trainer.world_size > 1 and os.getppid() != self._parent:
            self._signal = self._signal or signal.SIGTERM
        # One process's clock decides, so that all save or none.
        due = trainer.is_global_zero and time.monotonic() - self._saved >= self._seconds
        word = torch.tensor([int(due), self._signal], device=trainer.strategy.root_device)
        group = ProcessGroup(trainer.global_rank, trainer.world_size)
        saving, number = group.largest(word).tolist()
        if saving or number:
            trainer.save_checkpoint(self._path)
            self._saved = time.monotonic()
        if number:
            end_as_asked(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        # A signal to a process group is followed at once by that of the starter's end.
        now = time.monotonic()
        if self._signal and now - self._asked > _ONE_SIGNAL_SECONDS:
            self.end_if_asked()
        if not self._signal:
            self._signal, self._asked = number, now
