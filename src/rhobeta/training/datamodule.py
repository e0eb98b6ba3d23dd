"""The Lightning data module: the rows of the train and validation split, for each process."""

from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from torch import Tensor

from rhobeta.data.batches import ShuffledChunks, rank_slice
from rhobeta.data.gathering import LoadedRows, MappedRows, rows_for_training
from rhobeta.data.rows import RowSource
from rhobeta.data.scaling import InputScale
from rhobeta.training.steps import BATCHES_PER_CHUNK, VALIDATION_ROWS


class SplitRows(pl.LightningDataModule):
    """Serves rows (shape: [rows, features]): bytes, which the module scales to [0, 1], or numbers.

    A split of a mapped file that takes at most `memory` bytes is loaded onto the device; rows of a
    larger one are read when they are needed. Of several processes each has all rows, and serves its
    share of every mini-batch and of the validation split.
    """

    def __init__(
        self,
        train: RowSource,
        validation: RowSource,
        *,
        scale: InputScale,
        memory: int,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self._sources = train, validation
        self._scale = scale
        self._memory = memory
        self._batch_size = batch_size
        self._seed = seed
        self._rows: list[LoadedRows | MappedRows] = []

    def setup(self, stage: str) -> None:
        """Open the splits for the device that Lightning has chosen."""
        device = self._trainer().strategy.root_device
        self._rows = [
            rows_for_training(source, self._scale, device, self._memory) for source in self._sources
        ]

    def train_dataloader(self) -> ShuffledChunks:
        """Chunks of the epoch's shuffled mini-batches."""
        trainer = self._trainer()
        return ShuffledChunks(
            self._rows[0],
            batch_size=self._batch_size,
            seed=self._seed,
            batches_per_chunk=BATCHES_PER_CHUNK,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            epoch=trainer.current_epoch,
        )

    def val_dataloader(self) -> "OrderedPieces | list[Tensor]":
        """The validation rows in order, in large pieces; nothing where there are none.

        A process that has no share of them serves one piece without rows.
        """
        rows = self._rows[1]
        if not len(rows):
            return []
        trainer = self._trainer()
        return OrderedPieces(rows, rank_slice(len(rows), trainer.global_rank, trainer.world_size))

    def _trainer(self) -> pl.Trainer:
        if self.trainer is None:
            raise RuntimeError("SplitRows serves rows only to a Trainer")
        return self.trainer


class OrderedPieces:
    """A share of a split in its own order, in large pieces (a list would mean several loaders)."""

    def __init__(self, rows: LoadedRows | MappedRows, share: range) -> None:
        self._rows, self._share = rows, share

    def __len__(self) -> int:
        return max(1, -(-len(self._share) // VALIDATION_ROWS))

    def __iter__(self) -> Iterator[Tensor]:
        if not self._share:
            return iter([torch.empty(0)])
        return self._rows.pieces(self._share.start, self._share.stop, VALIDATION_ROWS)
