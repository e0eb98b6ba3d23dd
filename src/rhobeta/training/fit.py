"""Training from arrays to the best weights, with no file, store or DVC in sight."""

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import pytorch_lightning as pl
import torch

from rhobeta.data.labelled import LabelledImages
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.objective import Objective
from rhobeta.training.callbacks import History, KeptWeights, Progress
from rhobeta.training.images import ImagesInMemory
from rhobeta.training.module import SparseAutoencoderModule
from rhobeta.training.settings import Optimization


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
    objective: Objective,
    optimization: Optimization,
    train: LabelledImages,
    validation: LabelledImages,
    *,
    seed: int,
    accelerator: str = "auto",
    callbacks: Sequence[pl.Callback] = (),
) -> Trained:
    """Train on `train`, measure on `validation` after every epoch, keep the best or last weights.

    `validation` may be empty; then there is no best epoch, and the last must be asked for. Raises
    `RhobetaError` when training diverges, `KeyboardInterrupt` on Ctrl-C.
    """
    kept, history = KeptWeights(optimization.keep), History()
    trainer = make_trainer(accelerator, optimization.epochs, [kept, history, *callbacks])
    pixels = train.images.reshape(len(train.images), -1)
    mean_image = torch.from_numpy(pixels.mean(0, dtype="float64") / 255)
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
    try:
        with warnings.catch_warnings():
            # Lightning uses a name that torch is renaming; nothing that a user could mend.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*")
            # Training without validation images is asked for by its parameter.
            warnings.filterwarnings("ignore", message="Total length of")
            trainer.fit(module, datamodule=images)
    except SystemExit as end:
        # Lightning turns Ctrl-C into an exit; give the interrupt back to the caller.
        if trainer.interrupted and end.code == 1:
            raise KeyboardInterrupt from None
        raise
    model = Autoencoder(architecture)
    model.load_state_dict(kept.state)
    return Trained(
        model=model.eval(),
        best_epoch=kept.epoch,
        best_loss=kept.loss,
        best_metrics=kept.metrics,
        history_csv=history.as_csv(),
        device=_device_name(trainer.strategy.root_device),
        world_size=trainer.world_size,
    )


def make_trainer(
    accelerator: str, epochs: int, callbacks: Sequence[pl.Callback], *, progress: bool = True
) -> pl.Trainer:
    """A Lightning Trainer that keeps no files and shows only our own progress."""
    # Which devices exist and are used is in the run's tags; advice on loaders does not apply.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    return pl.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=epochs,
        callbacks=[*callbacks, *([Progress()] if progress else [])],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
