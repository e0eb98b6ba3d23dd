"""Mini-batches: an epoch is one seeded permutation of all rows, also of rows in a mapped file.

There are no worker processes and no Python code per row: each chunk of mini-batches is one gather.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rhobeta.data.samples import pixels_of as pixels_of

if TYPE_CHECKING:
    from rhobeta.data.gathering import Rows


class Chunk(NamedTuple):
    """Consecutive mini-batches, with one process's share of each."""

    images: Tensor
    """Bytes, or numbers as training sees them (shape: [images, pixels]), batch after batch."""
    rows: tuple[int, ...]
    """Number of `images` of each mini-batch."""
    sizes: tuple[int, ...]
    """Number of images of each mini-batch in all processes together."""


class ShuffledChunks:
    """An epoch's images in seeded random order, several mini-batches at a time.

    Iterating yields a `Chunk` of at most `batches_per_chunk` mini-batches of `batch_size` images;
    only an epoch's last mini-batch is shorter. The order depends on `seed` and `epoch` alone, not
    on the device or on earlier draws, so any epoch can be repeated. Each of `world_size` processes
    takes its share of every mini-batch, by its `rank`. Where a mini-batch has fewer images than
    there are processes, a process without a share gets the first image.
    """

    def __init__(
        self,
        rows: "Rows",
        *,
        batch_size: int,
        seed: int,
        batches_per_chunk: int,
        rank: int = 0,
        world_size: int = 1,
        epoch: int = 0,
    ) -> None:
        self.epoch = epoch
        self._rows = rows
        self._batch_size = batch_size
        self._batches_per_chunk = batches_per_chunk
        self._seed = seed
        self._rank, self._world_size = rank, world_size
        self._skipped = self._done = 0

    def __len__(self) -> int:
        return -(-len(self._rows) // (self._batch_size * self._batches_per_chunk))

    def __iter__(self) -> Iterator[Chunk]:
        order = permutation(len(self._rows), seed=self._seed, epoch=self.epoch)
        batches = torch.split(order, self._batch_size)
        skipped, self._skipped = self._skipped, 0
        chunks = [
            batches[first : first + self._batches_per_chunk]
            for first in range(0, len(batches), self._batches_per_chunk)
        ][skipped:]
        shares = [[self._share(batch) for batch in chosen] for chosen in chunks]
        gathered = self._rows.gather(torch.cat(mine) for mine in shares)
        for number, images in enumerate(gathered):
            self._done = (skipped + number + 1) % len(self)
            sizes = tuple(map(len, chunks[number]))
            yield Chunk(images, tuple(map(len, shares[number])), sizes)

    def _share(self, batch: Tensor) -> Tensor:
        mine = rank_slice(len(batch), self._rank, self._world_size)
        return batch[mine.start : mine.stop] if mine else batch[:1]

    def state_dict(self) -> dict[str, int]:
        """The number of chunks of this epoch that were yielded; Lightning saves it."""
        return {"done": self._done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip the chunks that were yielded before, in the next iteration only."""
        self._skipped = state["done"]


def rank_slice(size: int, rank: int, world_size: int) -> range:
    """The share of process `rank` of `world_size` in a row of `size` images.

    The shares are consecutive, complete, and differ in size by at most one.
    """
    return range(size * rank // world_size, size * (rank + 1) // world_size)


def permutation(size: int, *, seed: int, epoch: int) -> Tensor:
    """The order of `size` images in an epoch, as int64 on the CPU."""
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])
    # torch's generator takes a signed 64-bit seed.
    generator = torch.Generator().manual_seed(mixed >> 1)
    return torch.randperm(size, generator=generator)


def to_unit_interval(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bytes to numbers in [0, 1], on the device that holds them; numbers stay as they are."""
    numbers = images.to(dtype)
    return numbers.div_(255) if images.dtype == torch.uint8 else numbers
