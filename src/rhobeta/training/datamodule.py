"""The Lightning data module: train and validation images in the training device's memory."""

import math
from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.data.batches import ShuffledChunks, rank_slice
from rhobeta.training.steps import BATCHES_PER_CHUNK, VALIDATION_ROWS


class ImagesInMemory(pl.LightningDataModule):
    """Serves bytes of shape [images, pixels]; the module scales them to [0, 1] on the device.

    `train_images` and `validation_images` are bytes of shape [images, height, width]. Of several
    processes each holds all images, and serves its share of every mini-batch and of the validation
    images.
    """

    def __init__(
        self,
        train_images: NDArray[np.uint8],
        validation_images: NDArray[np.uint8],
        *,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self._train = _rows(train_images)
        self._validation = _rows(validation_images)
        self._batch_size = batch_size
        self._seed = seed

    def setup(self, stage: str) -> None:
        """Move the images to the device that Lightning has chosen."""
        device = self._trainer().strategy.root_device
        self._train = self._train.to(device)
        self._validation = self._validation.to(device)

    def train_dataloader(self) -> ShuffledChunks:
        """Chunks of the epoch's shuffled mini-batches."""
        trainer = self._trainer()
        return ShuffledChunks(
            self._train,
            batch_size=self._batch_size,
            seed=self._seed,
            batches_per_chunk=BATCHES_PER_CHUNK,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            epoch=trainer.current_epoch,
        )

    def val_dataloader(self) -> "OrderedPieces | list[Tensor]":
        """The validation images in order, in large pieces; nothing where there are none.

        A process that has no share of them serves one piece without images.
        """
        if not len(self._validation):
            return []
        trainer = self._trainer()
        mine = rank_slice(len(self._validation), trainer.global_rank, trainer.world_size)
        return OrderedPieces(self._validation[mine.start : mine.stop])

    def _trainer(self) -> pl.Trainer:
        if self.trainer is None:
            raise RuntimeError("ImagesInMemory serves images only to a Trainer")
        return self.trainer


class OrderedPieces:
    """A split in its own order, in large pieces (a bare list would mean several loaders)."""

    def __init__(self, images: Tensor) -> None:
        self._pieces = torch.split(images, VALIDATION_ROWS)

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._pieces)


def _rows(images: NDArray[np.uint8]) -> Tensor:
    pixels = math.prod(images.shape[1:])
    return torch.from_numpy(np.ascontiguousarray(images).reshape(len(images), pixels))
