"""Training, from parameters and arrays to the best weights."""

import csv
import hashlib
import io
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, distributed

from rhobeta.config.params import Params
from rhobeta.data.batches import to_unit_interval
from rhobeta.data.rows import PIECE_ROWS, RowSource
from rhobeta.data.samples import Samples
from rhobeta.data.scaling import input_scale, statistics_of
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Autoencoder
from rhobeta.model.folding import folded
from rhobeta.training.auto import without_auto
from rhobeta.training.checkpoints import CheckpointFile, PeriodicCheckpoint
from rhobeta.training.datamodule import SplitRows
from rhobeta.training.measurement import final_sparsity
from rhobeta.training.module import SparseAutoencoderModule
from rhobeta.training.steps import VALIDATION_ROWS, new_steps
from rhobeta.training.trainer import ANSWER_SECONDS, device_name, make_trainer
from rhobeta.utils.adaptive import AdaptiveThreads, adaptive_threads
from rhobeta.utils.signals import EndedBySignal

_PLOTTED = ("validation/loss", "validation/mse", "validation/penalty")


_REPORT_SECONDS = 10
"""How long rank 0 may take to end its run and report a fault that all processes share."""


@dataclass(frozen=True)
class Trained:
    """The result of a training."""

    model: Autoencoder
    """The model with the weights of the kept epoch, on the CPU, in evaluation mode."""
    best_epoch: int
    """The epoch, from 1, whose weights were kept."""
    best_loss: float
    """Its validation loss, or its training loss where there are no validation images."""
    best_metrics: dict[str, float]
    sparsity: dict[str, float]
    """As in `ModelDescription`."""
    history_csv: str
    device: str
    world_size: int


def fit(
    params: Params,
    train: Samples,
    validation: Samples,
    *,
    callbacks: Sequence[pl.Callback] = (),
    checkpoints: Path | None = None,
    progress: bool = True,
) -> Trained:
    """Train on `train`, measure on `validation` after every epoch, keep the best or last weights.

    `params` are checked parameters, such as `rhobeta.config.params.load_params` returns. Training
    sees (x - mean) / scale where `params.training` asks for it; the weights returned take x.
    `validation` may be empty; then `params.training.keep` must be "last".

    The training runs in this process. Where torchrun or SLURM started several, each calls `fit`
    with the same arguments, and each gets the result.

    `checkpoints` is the file that holds the last checkpoint, written every
    `params.runtime.checkpoint_seconds` by rank 0; if it exists, the training resumes from it.
    None keeps no checkpoints; then a signal ends the training at once.

    Raises `RhobetaError` where the parameters do not fit the data, when training diverges, when
    another process of it ends or was given something else, `KeyboardInterrupt` on Ctrl-C,
    `SystemExit` on SIGTERM.
    """
    params = without_auto(params, train.values)
    rows = RowSource(train.values), RowSource(validation.values)
    mean = statistics_of(rows[0]).mean
    scale = input_scale(
        rows[0], mean, center=bool(params.training.center), scale=bool(params.training.scale)
    )
    # The mean row in the numbers of training.
    mean_row = scale.exact(torch.from_numpy(mean))
    steps = new_steps(params, train.shape, mean_row, images=len(rows[0]))
    module = SparseAutoencoderModule(steps, mean_row)
    splits = SplitRows(
        *rows,
        scale=scale,
        memory=params.runtime.data_memory << 20,
        batch_size=params.training.batch_size,
        seed=params.training.seed,
    )
    file = None if checkpoints is None else CheckpointFile(checkpoints)
    if checkpoints is not None:
        periodic = PeriodicCheckpoint(checkpoints, params.runtime.checkpoint_seconds)
        callbacks = [*callbacks, periodic]
    trainer = make_trainer(params, callbacks, checkpoint_file=file, progress=progress)
    with _process_group(trainer), _lightning_quiet(), _threads(params, trainer) as threads:
        module.steps.threads = threads
        if trainer.world_size > 1:
            _require_same(trainer, _digest(params, *rows))
        if file is not None:
            # Every process resumes from the checkpoint that rank 0 finds.
            found = file.read() if trainer.is_global_zero else None
            file.content = trainer.strategy.broadcast(found)
        resumes = file is not None and file.content is not None
        try:
            trainer.fit(module, datamodule=splits, ckpt_path=checkpoints if resumes else None)
        except SystemExit as end:
            # Lightning turns Ctrl-C into an exit; give the interrupt back to the caller.
            if trainer.interrupted and end.code == 1:
                raise KeyboardInterrupt from None
            raise
        except Exception:
            # A peer exited on a signal; this process received it too.
            if checkpoints is not None:
                periodic.end_if_asked()
            raise
    steps = module.steps
    model = folded(steps.kept_model(), scale)
    return Trained(
        model=model,
        best_epoch=steps.kept.epoch,
        best_loss=steps.kept.loss,
        best_metrics=steps.kept.metrics,
        sparsity=final_sparsity(steps.kept.metrics, model, _pieces(rows[0])),
        history_csv=history_as_csv(steps.history),
        device=device_name(trainer.strategy.root_device),
        world_size=trainer.world_size,
    )


def _pieces(rows: RowSource) -> Iterator[Tensor]:
    for piece in rows.pieces(0, len(rows), VALIDATION_ROWS):
        yield to_unit_interval(torch.from_numpy(piece))


def history_as_csv(history: Sequence[dict[str, float]]) -> str:
    """The metrics of every epoch as a table; `train/mse` becomes the column `train_mse`.

    Without validation images the columns that DVC's plots name are there, empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [{"epoch": number} | metrics for number, metrics in enumerate(history, start=1)]
    names = dict.fromkeys([*rows[0], *_PLOTTED])
    writer.writerow(name.replace("/", "_") for name in names)
    for row in rows:
        writer.writerow(f"{row[name]:.9g}" if name in row else "" for name in names)
    return text.getvalue()


@contextmanager
def _process_group(trainer: pl.Trainer) -> Iterator[None]:
    """Join the other processes, where there are any, and leave them afterwards.

    Rank 0 reports a fault that all share; each process that is left reports a lost one.
    """
    if trainer.world_size == 1:
        yield
        return
    try:
        trainer.strategy.setup_environment()
        yield
    except RhobetaError:
        if trainer.global_rank > 0:
            # torchrun ends all processes once one has failed; rank 0 needs time to report.
            with suppress(EndedBySignal):
                time.sleep(_REPORT_SECONDS)
            raise SystemExit(1) from None
        raise
    except (RuntimeError, distributed.DistError) as error:
        # Gloo raises a plain RuntimeError; subclasses, such as out of memory, have other causes.
        if type(error) is not RuntimeError and not isinstance(error, distributed.DistError):
            raise
        raise RhobetaError(_lost(error, trainer.global_rank)) from error
    finally:
        if distributed.is_initialized():
            distributed.destroy_process_group()


def _lost(error: Exception, rank: int) -> str:
    reason = str(error).partition("\n")[0][-300:]
    return (
        f"Process {rank} of this training stopped: another process ended, or did not answer for"
        f" {ANSWER_SECONDS} seconds, or this one failed ({reason}).\nNo model was written. Read"
        " what the others said, then train again: it resumes from the last checkpoint.\nIf nodes"
        " never find each other: each has to name its network interface in GLOO_SOCKET_IFNAME (on"
        " GPUs NCCL_SOCKET_IFNAME), and MASTER_PORT must be open."
    )


def _digest(params: Params, *splits: RowSource) -> str:
    sections = (params.model, params.penalty, params.topk, params.training)
    found = hashlib.sha256(repr(sections).encode())
    for rows in splits:
        for piece in rows.pieces(0, len(rows), PIECE_ROWS):
            found.update(np.ascontiguousarray(piece).data)
    return found.hexdigest()


def _require_same(trainer: pl.Trainer, digest: str) -> None:
    digests: list[str] = [""] * trainer.world_size
    distributed.all_gather_object(digests, digest)
    other = [rank for rank, found in enumerate(digests) if found != digests[0]]
    if other:
        raise RhobetaError(
            "The processes of this training were given different parameters or data: rank"
            f" {', '.join(map(str, other))} differs from rank 0.\nBring the same commit and the"
            " same data (dvc pull, or dvc repro preprocess) to every node."
        )


def _threads(params: Params, trainer: pl.Trainer) -> AbstractContextManager[AdaptiveThreads | None]:
    # Several processes wait for each other: the time of a step is not that of one's own threads.
    alone = trainer.world_size == 1 and trainer.strategy.root_device.type == "cpu"
    adapts = alone and params.runtime.threads == "auto"
    return adaptive_threads() if adapts else nullcontext()


@contextmanager
def _lightning_quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # Lightning uses a name that torch is renaming; a user cannot change that.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # data.validation_fraction 0 asks for training without validation images.
        warnings.filterwarnings("ignore", message="Total length of")
        yield
