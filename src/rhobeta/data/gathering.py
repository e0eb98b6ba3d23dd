"""Rows as training takes them, scaled and on its device: all loaded, or gathered from a file.

Both give the same numbers in the same order, bit for bit.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from rhobeta.data.rows import PIECE_ROWS, RowSource
from rhobeta.data.scaling import InputScale


class Rows(Protocol):
    """Rows that mini-batches are made of: bytes, or numbers as training sees them."""

    def __len__(self) -> int: ...

    def gather(self, orders: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each of `orders`, int64 on the CPU, the rows of these numbers in that order."""

    def pieces(self, first: int, stop: int, size: int) -> Iterator[Tensor]:
        """Rows `first` to `stop` in their own order, `size` at a time."""


class LoadedRows:
    """Rows in the memory of the training device (shape: [rows, features])."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def gather(self, orders: Iterable[Tensor]) -> Iterator[Tensor]:
        """As in `Rows`."""
        for order in orders:
            yield self._values.index_select(0, order.to(self._values.device))

    def pieces(self, first: int, stop: int, size: int) -> Iterator[Tensor]:
        """As in `Rows`."""
        yield from torch.split(self._values[first:stop], size)


class MappedRows:
    """Rows of a mapped file, read and scaled when they are needed, one order ahead in a thread."""

    def __init__(self, source: RowSource, scale: InputScale, device: torch.device) -> None:
        self._source, self._scale, self._device = source, scale, device

    def __len__(self) -> int:
        return len(self._source)

    def gather(self, orders: Iterable[Tensor]) -> Iterator[Tensor]:
        """As in `Rows`."""
        with ThreadPoolExecutor(1, "rows") as reader:
            ahead: Future[Tensor] | None = None
            for order in orders:
                following = reader.submit(self._take, order)
                if ahead is not None:
                    yield ahead.result().to(self._device)
                ahead = following
            if ahead is not None:
                yield ahead.result().to(self._device)

    def pieces(self, first: int, stop: int, size: int) -> Iterator[Tensor]:
        """As in `Rows`."""
        for piece in self._source.pieces(first, stop, size):
            yield self._scale.apply(torch.from_numpy(piece)).to(self._device)

    def _take(self, order: Tensor) -> Tensor:
        return self._scale.apply(torch.from_numpy(self._source.take(order.numpy())))


def rows_for_training(
    source: RowSource, scale: InputScale, device: torch.device, memory: int | None = None
) -> LoadedRows | MappedRows:
    """The rows of `source`, scaled, for training on `device`.

    Rows of a mapped file are loaded where they take at most `memory` bytes (None: never), and stay
    in the file otherwise. Rows in memory stay there.
    """
    if source.is_mapped and (memory is None or _loaded_size(source, scale) > memory):
        return MappedRows(source, scale, device)
    if scale.changes_nothing and not source.is_mapped and source.array.flags.writeable:
        return LoadedRows(torch.from_numpy(source.array).to(device))
    loaded: Tensor | None = None
    first = 0
    for piece in source.pieces(0, len(source), PIECE_ROWS):
        rows = scale.apply(torch.from_numpy(piece))
        if loaded is None:
            loaded = torch.empty((len(source), source.features), dtype=rows.dtype)
        loaded[first : first + len(rows)] = rows
        first += len(rows)
    return LoadedRows((torch.empty(0, source.features) if loaded is None else loaded).to(device))


def _loaded_size(source: RowSource, scale: InputScale) -> int:
    """Bytes that the rows take when they are loaded; scaled rows are float32."""
    item = source.dtype.itemsize if scale.changes_nothing else 4
    return len(source) * source.features * item
