"""Rows of a data set where they lie: in an array, or in a mapped file larger than memory.

Pages of a mapped file are given back after every piece, so that they do not pile up in the
process's memory; the operating system keeps them in its cache as long as it likes. Chosen rows are
read from the file itself: through the map, the pages around each of them would come along.
"""

import mmap
import os
import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError

PIECE_ROWS = 1024
"""Rows that are read from a mapped file, or summed, at a time."""


class RowSource:
    """Samples of any shape (n, ...) as rows (n, features), read in pieces or by index.

    Where `values` is a `numpy.memmap`, or a view of one, reading copies rows and leaves no pages
    of the file behind; other arrays are used as they are.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        # Reshaping by -1 is not defined without rows.
        features = int(np.prod(values.shape[1:]))
        self._map = file_map(values)
        rows = np.asarray(values) if self.is_mapped else np.ascontiguousarray(values)
        self._rows = rows.reshape(len(values), features)
        self._file: int | None = None
        if self._map is not None and self._rows.strides[1] == self._rows.itemsize:
            self._file = _reopened(self._map)
            self._start = self._map.offset + _address(self._rows) - _address(self._map)
        if self._file is not None:
            weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def features(self) -> int:
        """Numbers of a row."""
        return self._rows.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self._rows.dtype

    @property
    def is_mapped(self) -> bool:
        """Whether the rows lie in a mapped file."""
        return self._map is not None

    @property
    def array(self) -> NDArray[Any]:
        """All rows, as they lie (shape: [n, features])."""
        return self._rows

    def pieces(self, first: int, stop: int, size: int) -> Iterator[NDArray[Any]]:
        """Rows `first` to `stop` in their order, `size` at a time, as arrays in memory."""
        for start in range(first, stop, size):
            piece = self._rows[start : min(start + size, stop)]
            # torch warns of arrays that cannot be written to.
            if self.is_mapped or not piece.flags.writeable:
                piece = piece.copy()
                self._give_back_pages()
            yield piece

    def take(self, chosen: NDArray[np.int64]) -> NDArray[Any]:
        """The rows `chosen`, in that order, in memory (shape: [chosen, features])."""
        if not self.is_mapped:
            return np.take(self._rows, chosen, axis=0)
        found = np.empty((len(chosen), self.features), self.dtype)
        # In the order of the file, which disks read faster, and which touches fewer pages at once.
        order = np.argsort(chosen, kind="stable")
        if self._file is not None:
            self._read(self._file, chosen[order], found, order)
            return found
        for start in range(0, len(order), PIECE_ROWS):
            places = order[start : start + PIECE_ROWS]
            found[places] = np.take(self._rows, chosen[places], axis=0)
            self._give_back_pages()
        return found

    def _read(
        self, file: int, rows: NDArray[np.int64], found: NDArray[Any], places: NDArray[np.intp]
    ) -> None:
        """Read `rows` to these places of `found`."""
        size = self.features * self.dtype.itemsize
        offsets = (self._start + rows * self._rows.strides[0]).tolist()
        # The disk reads many at a time while the first is waited for.
        for offset in offsets:
            os.posix_fadvise(file, offset, size, os.POSIX_FADV_WILLNEED)
        memory = found.reshape(-1).view(np.uint8).data
        for offset, place in zip(offsets, (places * size).tolist(), strict=True):
            if os.preadv(file, [memory[place : place + size]], offset) != size:
                raise RhobetaError(
                    "A file of rows became shorter while they were read. Leave it as it is until"
                    " the command has ended, and start again."
                )

    def _give_back_pages(self) -> None:
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            pages: Any = self._map.base
            pages.madvise(mmap.MADV_DONTNEED)


def file_map(values: Any) -> "np.memmap[Any, Any] | None":
    """The `numpy.memmap` that an array is, or is a view of; None for arrays in memory."""
    mapped = None
    while values is not None:
        if isinstance(values, np.memmap):
            # What was written to a copy on write is in its pages alone.
            if values.mode == "c":
                return None
            mapped = values
        elif isinstance(values, mmap.mmap):
            return mapped
        values = getattr(values, "base", None)
    return None


def _reopened(mapped: "np.memmap[Any, Any]") -> int | None:
    """A descriptor of the mapped file; None where its name stands for another file by now."""
    # Only Linux tells which file a map is of.
    if sys.platform != "linux" or mapped.filename is None:
        return None
    with suppress(OSError):
        file = os.open(mapped.filename, os.O_RDONLY)
        if os.fstat(file).st_ino == _mapped_inode(_address(mapped)):
            return file
        os.close(file)
    return None


def _mapped_inode(address: int) -> int | None:
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, _, _, inode = line.split()[:5]
        first, end = (int(part, 16) for part in span.split("-"))
        if first <= address < end:
            return int(inode)
    return None


def _address(values: NDArray[Any]) -> int:
    return int(values.__array_interface__["data"][0])
