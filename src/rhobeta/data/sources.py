"""Arrays wherever they lie: each tells its shape and type, and is read in pieces."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Source(Protocol):
    """An array in an open file, or one that is computed piece by piece."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""

    def pieces(self, rows: int) -> Iterator[NDArray[Any]]:
        """The values, at most `rows` of the first axis at a time ([rows, ...])."""


Opener = Callable[[], AbstractContextManager[Source]]


@dataclass(frozen=True)
class ArrayInMemory:
    """An array as a source."""

    values: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.values.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its values."""
        return self.values.dtype

    def pieces(self, rows: int) -> Iterator[NDArray[Any]]:
        """The values, at most `rows` of the first axis at a time ([rows, ...])."""
        return (self.values[start : start + rows] for start in range(0, len(self.values), rows))
