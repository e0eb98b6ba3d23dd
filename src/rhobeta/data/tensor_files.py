"""Tensors in .safetensors files, read in pieces. Types that NumPy lacks become float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError

_TYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F16": "float16",
    "F64": "float64",
}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in an open file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _slice: Any

    def pieces(self, rows: int) -> Iterator[NDArray[Any]]:
        """The values, at most `rows` of the first axis at a time ([rows, ...])."""
        for start in range(0, self.shape[0], rows):
            tensor = self._slice[start : start + rows]
            yield (tensor.float() if self.dtype == np.float32 else tensor).numpy()


def tensor_names(path: Path) -> list[str]:
    """Names of the tensors in a file. Raises `RhobetaError` where it is not safetensors."""
    with _readable(path) as file:
        return sorted(file.keys())


def describe_tensors(path: Path) -> str:
    """The tensors of a file in words, such as `activations (1000, 768) BF16`."""
    with _readable(path) as file:
        found = {name: file.get_slice(name) for name in sorted(file.keys())[:20]}
        words = (f"{n} {tuple(s.get_shape())} {s.get_dtype()}" for n, s in found.items())
        return ", ".join(words) or "none"


@contextmanager
def open_tensor(path: Path, name: str) -> Iterator[StoredTensor]:
    """The tensor `name` of a file. Raises `RhobetaError` where it cannot be read."""
    with _readable(path) as file:
        found = file.get_slice(name)
        dtype = np.dtype(_TYPES.get(found.get_dtype(), "float32"))
        yield StoredTensor(tuple(found.get_shape()), dtype, found)


@contextmanager
def _readable(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        # NumPy has no bfloat16, in which activations often are.
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise RhobetaError(
            f"{path} is not a readable .safetensors file: {error}.\nWrite it with"
            " safetensors.numpy.save_file."
        ) from None
