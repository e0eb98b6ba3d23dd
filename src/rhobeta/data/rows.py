"""Rows of a data set where they lie: in an array, or in a mapped file larger than memory.

Pages of a mapped file are given back after every piece, so that they do not pile up in the
process's memory; the operating system keeps them in its cache as long as it likes.
"""

import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        for start in range(0, len(order), PIECE_ROWS):
            places = order[start : start + PIECE_ROWS]
            found[places] = np.take(self._rows, chosen[places], axis=0)
            self._give_back_pages()
        return found

    def _give_back_pages(self) -> None:
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def file_map(values: Any) -> mmap.mmap | None:
    """The map of a `numpy.memmap` or of a view of one; None for arrays in memory."""
    mapped = False
    while values is not None:
        if isinstance(values, np.memmap):
            # What was written to a copy on write is in its pages alone.
            if values.mode == "c":
                return None
            mapped = True
        elif isinstance(values, mmap.mmap):
            return values if mapped else None
        values = getattr(values, "base", None)
    return None
