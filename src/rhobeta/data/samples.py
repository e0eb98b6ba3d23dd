"""Samples: images or vectors with or without labels, in memory or mapped from a file."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError


@dataclass(frozen=True)
class Samples:
    """Images or vectors, one a row, with their labels where there are any."""

    values: NDArray[Any]
    """Grey images [n, height, width] or colour images [n, height, width, 3] of bytes that stand for
    [0, 1], or vectors [n, features] of float16 or float32. May be a memory map."""
    labels: NDArray[np.uint8] | None
    """The class of each (shape: [n]); None: there are no labels."""

    def __post_init__(self) -> None:
        shape, dtype = self.values.shape, self.values.dtype
        if not (is_sample_shape(shape[1:]) and dtype in _types_of(shape[1:])):
            raise RhobetaError(
                f"Values are {dtype} of shape {shape}; expected bytes of (images, height, width) or"
                " (images, height, width, 3), or float16 or float32 of (vectors, features)."
            )
        if self.labels is None:
            return
        if self.labels.ndim != 1 or self.labels.dtype != np.uint8:
            raise RhobetaError(
                f"Labels are {self.labels.dtype} of shape {self.labels.shape}; expected bytes, one"
                " each."
            )
        if len(self.values) != len(self.labels):
            raise RhobetaError(
                f"There are {len(self.values)} {kind_of(shape[1:])} but {len(self.labels)} labels:"
                " one of the two files is incomplete or belongs to another data set."
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample: (height, width), (height, width, 3) or (features,)."""
        return self.values.shape[1:]

    def require_labels(self) -> NDArray[np.uint8]:
        """The labels. Raises `RhobetaError` where there are none."""
        if self.labels is None:
            raise RhobetaError("The data set has no labels, which are needed here.")
        return self.labels

    def take(self, indices: NDArray[np.intp]) -> "Samples":
        """The samples and labels at `indices`, in memory."""
        labels = None if self.labels is None else self.labels[indices]
        return Samples(self.values[indices], labels)


def is_sample_shape(shape: tuple[int, ...]) -> bool:
    """Whether it is the shape of a grey image, of a colour image, or of a vector."""
    return len(shape) in (1, 2) or (len(shape) == 3 and shape[2] == 3)


def kind_of(shape: tuple[int, ...]) -> str:
    """What samples of a shape are called: images, colour images or vectors."""
    return {1: "vectors", 2: "images"}.get(len(shape), "colour images")


def describe_shape(shape: tuple[int, ...]) -> str:
    """Samples of a shape in words.

    >>> describe_shape((28, 28)), describe_shape((32, 32, 3)), describe_shape((768,))
    ('images of 28 x 28 pixels', 'colour images of 32 x 32 pixels', 'vectors of 768 features')
    """
    sizes = f"{shape[0]} features" if len(shape) == 1 else f"{shape[0]} x {shape[1]} pixels"
    return f"{kind_of(shape)} of {sizes}"


def _types_of(shape: tuple[int, ...]) -> tuple[type, ...]:
    return (np.float16, np.float32) if len(shape) == 1 else (np.uint8,)


def pixels_of(images: NDArray[Any]) -> NDArray[np.float32]:
    """Images (images, height, width) of bytes as rows of numbers in [0, 1]; numbers as they are."""
    rows = images.reshape(len(images), math.prod(images.shape[1:])).astype(np.float32)
    if images.dtype == np.uint8:
        rows /= 255
    return rows
