"""The IDX format of MNIST: two zero bytes, a type byte, the rank, the sizes, then the values.

Only unsigned bytes (type 0x08) are supported; all MNIST-like data sets consist of them.
"""

import math
import struct
from mmap import mmap
from typing import IO

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError

_UNSIGNED_BYTE = 8

LONGEST_HEADER = 4 + 4 * 255


def read_idx(content: bytes | bytearray | mmap, *, name: str) -> NDArray[np.uint8]:
    """Decode `content` into an array of its declared shape, as a view of the same bytes.

    Raises `RhobetaError`, which names `name`, where the header is wrong or the content is shorter
    or longer than it declares.
    """
    shape, start = _header(content, name)
    expected = start + math.prod(shape)
    if len(content) != expected:
        fault = "truncated" if len(content) < expected else "too long"
        raise RhobetaError(
            f"{name} is {fault}: {len(content)} bytes, but its header declares"
            f" {' x '.join(map(str, shape))} values, which makes {expected}."
        )
    try:
        return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
    except ValueError as error:
        raise RhobetaError(f"{name} declares a shape that no array can have ({error}).") from None


def declared_length(content: bytes | bytearray, *, name: str) -> int:
    """The length in bytes of the file that starts with `content`, which must hold its header.

    `LONGEST_HEADER` bytes always do. Raises `RhobetaError` where there is no header.
    """
    shape, start = _header(content, name)
    return start + math.prod(shape)


def _header(content: bytes | bytearray | mmap, name: str) -> tuple[tuple[int, ...], int]:
    """The declared shape, and where the values begin."""
    if len(content) < 4 or content[:2] != b"\0\0":
        raise RhobetaError(f"{name} is not an IDX file: it does not start with two zero bytes.")
    kind, rank = content[2], content[3]
    if kind != _UNSIGNED_BYTE:
        raise RhobetaError(f"{name} holds values of IDX type {kind:#04x}; expected 0x08, bytes.")
    start = 4 + 4 * rank
    if rank == 0 or len(content) < start:
        raise RhobetaError(f"{name} is truncated: its IDX header is incomplete.")
    return struct.unpack(f">{rank}I", content[4:start]), start


def write_idx_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Write what comes before the values of an array of bytes in IDX."""
    file.write(struct.pack(f">BBBB{len(shape)}I", 0, 0, _UNSIGNED_BYTE, len(shape), *shape))
