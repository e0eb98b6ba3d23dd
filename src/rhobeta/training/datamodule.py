"""The Lightning data module: train and validation images in the training device's memory."""

import math
from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.data.batches import ShuffledChunks, rank_slice

# Enough work in one Lightning step to make its bookkeeping small beside the arithmetic.
BATCHES_PER_CHUNK = 32
_VALIDATION_CHUNK = 8192


class ImagesInMemory(pl.LightningDataModule):
    """Serves bytes of shape [images, pixels]; scaling to [0, 1] is left to the device.

    `train_images` and `validation_images` are (images, height, width) bytes. Of several processes
    each holds all of them, and serves its share of every mini-batch and of the validation images.
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
        self._rank, self._world_size = 0, 1

    def setup(self, stage: str) -> None:
        """Move the images to the device that Lightning has chosen."""
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            self._rank, self._world_size = self.trainer.global_rank, self.trainer.world_size
            self._train = self._train.to(device)
            self._validation = self._validation.to(device)

    def train_dataloader(self) -> ShuffledChunks:
        """Chunks of shuffled mini-batches."""
        return ShuffledChunks(
            self._train,
            batch_size=self._batch_size,
            seed=self._seed,
            batches_per_chunk=BATCHES_PER_CHUNK,
            rank=self._rank,
            world_size=self._world_size,
        )

    def val_dataloader(self) -> "OrderedPieces | list[Tensor]":
        """The validation images in order, in large pieces; nothing where there are none.

        A process that has no share of them serves one piece without images.
        """
        if not len(self._validation):
            return []
        mine = rank_slice(len(self._validation), self._rank, self._world_size)
        return OrderedPieces(self._validation[mine.start : mine.stop])


class OrderedPieces:
    """A split in its own order, in large pieces (a bare list would mean several loaders)."""

    def __init__(self, images: Tensor) -> None:
        self._pieces = torch.split(images, _VALIDATION_CHUNK)

    def __len__(self) -> int:
        return len(self._pieces)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._pieces)


def _rows(images: NDArray[np.uint8]) -> Tensor:
    pixels = math.prod(images.shape[1:])
    return torch.from_numpy(np.ascontiguousarray(images).reshape(len(images), pixels))
