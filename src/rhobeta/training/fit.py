"""Training from arrays to the best weights, with no file, store or DVC in sight."""

import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import distributed

from rhobeta.data.labelled import LabelledImages
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.loss import SparseLoss
from rhobeta.training.callbacks import History, KeptWeights
from rhobeta.training.datamodule import ImagesInMemory
from rhobeta.training.devices import Machine
from rhobeta.training.module import SparseAutoencoderModule
from rhobeta.training.resume import KeepState, Resumption, StateAsBytes
from rhobeta.training.settings import Optimization
from rhobeta.training.trainer import ANSWER_SECONDS, device_name, make_trainer

_SEVERED = re.compile(
    r"(closed|reset) by peer|timed? ?out|broken pipe|connection refused", re.IGNORECASE
)


@dataclass(frozen=True)
class Trained:
    """What training gives."""

    model: Autoencoder
    """The model with the weights of the kept epoch, on the CPU, in evaluation mode."""
    best_epoch: int
    """The epoch, from 1, whose weights were kept."""
    best_loss: float
    """Its validation loss, or its training loss where there are no validation images."""
    best_metrics: dict[str, float]
    history_csv: str
    device: str
    world_size: int


def fit(
    architecture: Architecture,
    objective: SparseLoss,
    optimization: Optimization,
    train: LabelledImages,
    validation: LabelledImages,
    *,
    seed: int,
    machine: Machine | None = None,
    callbacks: Sequence[pl.Callback] = (),
    resumption: Resumption | None = None,
    progress: bool = True,
) -> Trained:
    """Train on `train`, measure on `validation` after every epoch, keep the best or last weights.

    `validation` may be empty; then there is no best epoch, and the last must be asked for. Several
    processes that train together all call this with the same arguments, and all get the result;
    of `resumption` the state of rank 0 counts. Without one, a signal ends the training at once.

    Raises `RhobetaError` when training diverges, when another process of it ends or was given
    something else, `KeyboardInterrupt` on Ctrl-C, `SystemExit` on SIGTERM.
    """
    kept, history = KeptWeights(optimization.keep), History()
    pixels = train.images.reshape(len(train.images), -1)
    mean_image = torch.from_numpy(pixels.mean(0, dtype="float64") / 255)
    # Of no use to what is shipped; an extension may draw from it.
    torch.manual_seed(seed)
    start = Autoencoder(architecture, seed=seed)
    if optimization.topk is not None:
        start.center_on(mean_image)
    module = SparseAutoencoderModule(
        start,
        objective,
        optimization,
        train_images=len(pixels),
        mean_image=mean_image,
        seed=seed,
    )
    images = ImagesInMemory(
        train.images, validation.images, batch_size=optimization.batch_size, seed=seed
    )
    state = None if resumption is None else StateAsBytes(resumption)
    keeper = None if resumption is None else KeepState(resumption.seconds)
    trainer = make_trainer(
        machine or Machine(),
        optimization.epochs,
        [kept, history, *callbacks, *([keeper] if keeper else [])],
        precision=optimization.precision,
        state=state,
        progress=progress,
    )
    with _one_of_several(trainer), _lightning_quiet():
        if trainer.world_size > 1:
            inputs = (architecture, objective, optimization, seed)
            _require_same(trainer, _digest(inputs, train.images, validation.images))
            if state is not None:
                state.content = trainer.strategy.broadcast(state.content)
        goes_on = state is not None and state.content is not None
        try:
            trainer.fit(module, datamodule=images, ckpt_path="state" if goes_on else None)
        except SystemExit as end:
            # Lightning turns Ctrl-C into an exit; give the interrupt back to the caller.
            if trainer.interrupted and end.code == 1:
                raise KeyboardInterrupt from None
            raise
        except Exception:
            # Who waits for a process that has ended as it was asked was asked as well.
            if keeper is not None:
                keeper.end_if_asked()
            raise
    model = Autoencoder(architecture).to(module.dtype)
    model.load_state_dict(kept.state)
    return Trained(
        model=model.eval(),
        best_epoch=kept.epoch,
        best_loss=kept.loss,
        best_metrics=kept.metrics,
        history_csv=history.as_csv(),
        device=device_name(trainer.strategy.root_device),
        world_size=trainer.world_size,
    )


@contextmanager
def _one_of_several(trainer: pl.Trainer) -> Iterator[None]:
    """Join the other processes, where there are any, and leave them afterwards.

    A fault that all share is told by rank 0; that another process is lost, by all that are left.
    """
    if trainer.world_size == 1:
        yield
        return
    try:
        trainer.strategy.setup_environment()
        yield
    except RhobetaError:
        if trainer.global_rank > 0:
            raise SystemExit(1) from None
        raise
    except (RuntimeError, distributed.DistError) as error:
        if not _tells_of_another_process(error):
            raise
        raise RhobetaError(_lost(error)) from None
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _tells_of_another_process(error: Exception) -> bool:
    # Gloo has no exception of its own.
    return isinstance(error, distributed.DistError) or bool(_SEVERED.search(str(error)))


def _lost(error: Exception) -> str:
    reason = str(error).splitlines()[0][-300:]
    return (
        "Another process of this training has ended, or has not answered for"
        f" {ANSWER_SECONDS} seconds ({reason}).\nNo model was written. See what it said, then train"
        " again: training goes on from where its state was last kept.\nIf nodes never find each"
        " other: each has to name its network interface in GLOO_SOCKET_IFNAME (on GPUs"
        " NCCL_SOCKET_IFNAME), and MASTER_PORT must be open."
    )


def _digest(inputs: tuple[Any, ...], *images: NDArray[np.uint8]) -> str:
    found = hashlib.sha256(repr(inputs).encode())
    for array in images:
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def _require_same(trainer: pl.Trainer, digest: str) -> None:
    digests: list[str] = [""] * trainer.world_size
    distributed.all_gather_object(digests, digest)
    other = [rank for rank, found in enumerate(digests) if found != digests[0]]
    if other:
        raise RhobetaError(
            f"The processes of this training were given different parameters or data: those of rank"
            f" {', '.join(map(str, other))} have others than that of rank 0.\nBring the same commit"
            " and the same data (dvc pull, or dvc repro preprocess) to every node."
        )


@contextmanager
def _lightning_quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # Lightning uses a name that torch is renaming; nothing that a user could mend.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # Training without validation images is asked for by its parameter.
        warnings.filterwarnings("ignore", message="Total length of")
        # What is logged is the same in every process already.
        warnings.filterwarnings("ignore", message="It is recommended to use `self.log")
        yield
