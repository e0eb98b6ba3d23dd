"""Rows from what users pass: arrays, lists, data frames and tensors of usual types and shapes."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

INPUT_TYPES = (np.float32, np.float64, np.uint8)
"""Types that stay as they are; other numbers become float32."""


def input_rows(values: Any, width: int) -> NDArray[Any]:
    """The `values` as rows (shape: (n, width)), of one of `INPUT_TYPES`.

    Takes shapes (n, ...) with `width` values each, such as (n, 28, 28) for 784, and one row alone.
    Raises `ValueError`, in one line, where the values are no finite numbers or have another shape.
    """
    try:
        array = _array(values)
    except (TypeError, ValueError):
        raise ValueError(
            f"found a {type(values).__name__} of rows of different lengths or types; expected an"
            f" array of numbers, shape (n, {width}): check that each row has {width} values"
        ) from None
    if array.dtype not in INPUT_TYPES:
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"found values of type {array.dtype} in a {type(values).__name__}; expected"
                f" numbers, shape (n, {width}): drop what is no number, or convert it"
            )
        array = array.astype(np.float32)
    if (
        array.shape == ()
        or array.size % width
        or (array.size != width and math.prod(array.shape[1:]) != width)
    ):
        raise ValueError(
            f"found an array of shape {array.shape}; expected (n, {width}), or n arrays of"
            f" {width} values each: select or reshape to that"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            "found NaN or infinity; expected finite numbers: drop or fill the rows that have them"
        )
    return array.reshape(-1, width)


def row_tensor(rows: NDArray[Any]) -> torch.Tensor:
    """The rows as a tensor, without a copy where torch allows that."""
    usable = rows.flags.writeable and min(rows.strides, default=0) >= 0
    return torch.from_numpy(rows if usable else rows.copy())


def _array(values: Any) -> NDArray[Any]:
    if isinstance(values, torch.Tensor):
        # numpy has no bfloat16.
        numbers = values.float() if values.dtype == torch.bfloat16 else values
        found: NDArray[Any] = numbers.numpy(force=True)
        return found
    return np.asarray(values)
