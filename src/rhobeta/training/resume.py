"""Stopping in the middle of a training and going on later, to the same end, bit for bit.

The state holds all that the rest of the training depends on: weights, the optimiser's moments, the
place in the epoch's permutation, the sums and counters of the module, the kept weights, the history
and torch's random state. It is taken between two chunks of mini-batches, or between two epochs.
"""

import io
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import CheckpointIO

from rhobeta.training.process_group import ProcessGroup
from rhobeta.utils.signals import end_as_asked

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Resumption:
    """From where a training goes on, and what becomes of its state on the way."""

    state: bytes | None
    """A state that an earlier training was left with; None to begin."""
    keep: Callable[[bytes], None]
    """Keeps a state in place of the one before; called in the process of rank 0."""
    seconds: float
    """Time between two states; 0 for one after every chunk."""


def nothing_kept(seconds: float) -> Resumption:
    """That of a process whose states go nowhere, but which takes part in gathering them."""
    return Resumption(None, lambda state: None, seconds)


class StateAsBytes(CheckpointIO):
    """Gives Lightning the state that a training goes on from, and takes the ones it makes.

    What is read is data alone: torch's `weights_only`, which builds nothing but plain values and
    tensors.
    """

    def __init__(self, resumption: Resumption) -> None:
        self.content = resumption.state
        """The state to go on from; None to begin."""
        self._keep = resumption.keep

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Keep what Lightning has gathered; there is one state, so `path` says nothing."""
        file = io.BytesIO()
        torch.save(checkpoint, file)
        self._keep(file.getvalue())

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The state that the training goes on from."""
        if self.content is None:
            raise RuntimeError("there is no state to go on from")
        found: dict[str, Any] = torch.load(
            io.BytesIO(self.content), map_location="cpu", weights_only=True
        )
        return found

    def remove_checkpoint(self, path: Any) -> None:
        """Nothing: the next state takes the place of the one before."""


class KeepState(pl.Callback):
    """Takes the state every so often, and when the process is asked to end, which it then does.

    Has to come last among the callbacks, so that the state holds what they have made of an epoch.
    The first SIGINT or SIGTERM ends the training after the present chunk of mini-batches, in all
    its processes; a second one at once. Where training ends of itself meanwhile, it was too late.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._signal = 0
        self._taken = time.monotonic()
        self._handlers: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to listen for signals and to count the time."""
        self._taken = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._note) for number in _SIGNALS}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave signals to whom they belonged."""
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
        """After a chunk of mini-batches; what follows an epoch's last one belongs to its end."""
        if batch_idx + 1 < trainer.num_training_batches:
            self._take_if_due(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Between two epochs."""
        if trainer.current_epoch + 1 < (trainer.max_epochs or 0):
            self._take_if_due(trainer)

    def end_if_asked(self) -> None:
        """Raise `KeyboardInterrupt` or `EndedBySignal` where a signal has come."""
        if self._signal:
            end_as_asked(self._signal)

    def state_dict(self) -> dict[str, Any]:
        """Torch's random state, for extensions that draw from it."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the random numbers that come next."""
        torch.set_rng_state(state_dict["cpu"])
        if len(state_dict["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state_dict["cuda"])

    def _take_if_due(self, trainer: pl.Trainer) -> None:
        # By a clock that never jumps, and by that of one process: all take it, or none.
        due = trainer.is_global_zero and time.monotonic() - self._taken >= self._seconds
        word = torch.tensor([int(due), self._signal], device=trainer.strategy.root_device)
        group = ProcessGroup(trainer.global_rank, trainer.world_size)
        taking, number = group.largest(word).tolist()
        if taking or number:
            trainer.save_checkpoint("state")
            self._taken = time.monotonic()
        if number:
            end_as_asked(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.end_if_asked()
        self._signal = number
