"""Arrays in .npy and .npz files: the header first, then the values in pieces.

No pickle is loaded, and no more memory is used than a header declares and the file can hold.
"""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError

NPY_START, ZIP_START = b"\x93NUMPY", b"PK"
# Limit of what a compressed array may unpack to: EMNIST fits, a small file of gigabytes does not.
LARGEST_UNPACKED = 1 << 30
# numpy's own limit of a header is 10,000 bytes.
_LONGEST_START = 1 << 14
_NAMES_SHOWN = 20
_LONGEST_REASON = 200  # numpy quotes a header whole


@dataclass(frozen=True)
class StoredArray:
    """An array in an open file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    by_columns: bool
    _stream: IO[bytes]

    def pieces(self, rows: int) -> Iterator[NDArray[Any]]:
        """The values, at most `rows` of the first axis at a time ([rows, ...]).

        An array that is stored by columns is mapped; in an archive it is read whole first.
        """
        if self.by_columns:
            whole = self._mapped() if isinstance(self._stream, io.BufferedReader) else self._whole()
            yield from (whole[start : start + rows] for start in range(0, self.shape[0], rows))
            return
        for start in range(0, self.shape[0], rows):
            yield self._read((min(rows, self.shape[0] - start), *self.shape[1:]))

    def _mapped(self) -> NDArray[Any]:
        return np.memmap(self._stream, self.dtype, "r", self._stream.tell(), self.shape, "F")

    def _whole(self) -> NDArray[Any]:
        return self._read(self.shape[::-1]).T

    def _read(self, shape: tuple[int, ...]) -> NDArray[Any]:
        length = math.prod(shape) * self.dtype.itemsize
        content = self._stream.read(length)
        if len(content) != length:
            raise ValueError("it is truncated: its header declares more than it holds")
        return np.frombuffer(content, self.dtype).reshape(shape)


@contextmanager
def open_array(path: Path, member: str | None = None) -> Iterator[StoredArray]:
    """The array of an .npy file, or the `member` of an .npz file.

    A compressed array may unpack to 1 GiB; larger ones must be uncompressed. Raises `RhobetaError`
    for a file that is damaged, truncated, or holds Python objects, here or while it is read.
    """
    with _readable(path):
        if member is None:
            with path.open("rb") as stream:
                yield _stored(stream, path.stat().st_size)
        else:
            with zipfile.ZipFile(path) as archive:
                info = archive.getinfo(f"{member}.npy")
                _require_bounded(info, member)
                with archive.open(info) as stream:
                    yield _stored(stream, info.file_size)


def array_names(path: Path) -> list[str]:
    """Names of the arrays in an .npz file. Raises `RhobetaError` where it is none."""
    with _readable(path), zipfile.ZipFile(path) as archive:
        # Archives from a Mac hold a hidden companion of every file.
        found = (name for name in archive.namelist() if not Path(name).name.startswith("."))
        return [name.removesuffix(".npy") for name in found if name.endswith(".npy")]


def describe_arrays(path: Path) -> str:
    """The arrays of an .npz file in words, such as `images (60, 28, 28) uint8`."""
    names = array_names(path)
    words = []
    for name in names[:_NAMES_SHOWN]:
        try:
            with open_array(path, name) as array:
                words.append(f"{name} {array.shape} {array.dtype}")
        except RhobetaError:
            words.append(f"{name} (unreadable)")
    if len(names) > _NAMES_SHOWN:
        words.append(f"{len(names) - _NAMES_SHOWN} more")
    return ", ".join(words) or "none"


def _stored(stream: IO[bytes], size: int) -> StoredArray:
    start = io.BytesIO(stream.read(_LONGEST_START))
    version = npy.read_magic(start)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read(start)
    if not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its header declares the shape {shape}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    if math.prod(shape) * dtype.itemsize > size - start.tell():
        raise ValueError(
            f"it is truncated: its header declares more than it holds, {dtype} of shape {shape}"
        )
    stream.seek(start.tell())
    return StoredArray(shape, dtype, by_columns and len(shape) > 1, stream)


def _require_bounded(info: zipfile.ZipInfo, name: str) -> None:
    """Refuse an array by its declared size; `zipfile` unpacks no more than that."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in another way than np.savez_compressed does")
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > LARGEST_UNPACKED:
        raise ValueError(
            f"{name} unpacks to {info.file_size:,} bytes; np.savez, which does not compress, stores"
            f" arrays of more than {LARGEST_UNPACKED >> 20} MiB"
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (RhobetaError, PermissionError):
        raise
    except Exception as error:
        # numpy and zipfile raise a dozen kinds of exception for files that are not what they say.
        reason = (str(error) or type(error).__name__)[:_LONGEST_REASON]
        raise RhobetaError(
            f"{path} is not a readable {path.suffix.lower() or 'NumPy'} file: {reason}.\n"
            "Write it with numpy.save or numpy.savez."
        ) from None
