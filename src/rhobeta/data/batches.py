"""Mini-batches out of memory: the data set stays as bytes on the training device.

There are no worker processes and no per-image Python: an epoch is one seeded permutation, and
each chunk of mini-batches is one gather.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class ShuffledChunks:
    """An epoch's images in seeded random order, several mini-batches at a time.

    Iterating yields bytes of shape (at most batches_per_chunk * batch_size, pixels); only an
    epoch's last chunk is shorter. The order depends on `seed` and the epoch alone, not on the
    device, nor on what was drawn before, so any epoch can be repeated.
    """

    def __init__(
        self, images: Tensor, *, batch_size: int, seed: int, batches_per_chunk: int
    ) -> None:
        self._images = images
        self._chunk_size = batch_size * batches_per_chunk
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return -(-len(self._images) // self._chunk_size)

    def __iter__(self) -> Iterator[Tensor]:
        order = permutation(len(self._images), seed=self._seed, epoch=self._epoch)
        order = order.to(self._images.device)
        for chosen in torch.split(order, self._chunk_size):
            yield self._images[chosen]

    @property
    def sampler(self) -> "ShuffledChunks":
        """Itself: Lightning announces each epoch to its loader's `sampler`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of the next iteration."""
        self._epoch = epoch


def permutation(size: int, *, seed: int, epoch: int) -> Tensor:
    """The order of `size` images in an epoch, as int64 on the CPU."""
    mixed = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])
    # torch's generator takes a signed 64-bit seed.
    generator = torch.Generator().manual_seed(mixed >> 1)
    return torch.randperm(size, generator=generator)


def to_unit_interval(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bytes to numbers in [0, 1], on the device that holds them."""
    return images.to(dtype).div_(255)


def pixels_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Images (images, height, width) of bytes as rows of numbers in [0, 1]."""
    rows = torch.tensor(images.reshape(len(images), -1))
    return to_unit_interval(rows).numpy()
