"""What the values of arrays mean: grey levels and labels, checked and brought into one form."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.data.numpy_files import StoredArray
from rhobeta.errors import RhobetaError

_PIECE_BYTES = 16 << 20
# Below this share of white, the brightest grey level of a data set is worth a note.
_DIM = 0.25


Values = StoredArray | NDArray[np.uint8]
"""An array in a file, which is read in pieces, or one in memory."""


def grey_bytes(values: Values, name: str) -> NDArray[np.uint8]:
    """Images as bytes, in their shape without a channel of size one ([images, height, width]).

    Raises `RhobetaError`, which names `name`, for other shapes, and unless the values are integers
    from 0 to 255.
    """
    shape = without_channel(values.shape)
    if len(shape) != 3 or 0 in shape:
        raise RhobetaError(
            f"{name} has the shape {values.shape}; expected (images, height, width), grey images of"
            f" one size{', at least one' if 0 in shape else ''}.{_shape_advice(shape)}"
        )
    if values.dtype.kind not in "uif":
        advice = "\nimages * np.uint8(255) makes bytes of them." if values.dtype.kind == "b" else ""
        raise RhobetaError(
            f"{name} holds {values.dtype}; expected bytes (uint8, 0 to 255).{advice}"
        )
    if isinstance(values, np.ndarray):
        return values.reshape(shape)
    found = np.empty(values.shape, np.uint8)
    low, high, start = math.inf, -math.inf, 0
    for piece in values.pieces(_rows(values)):
        # NaN stays NaN in both.
        low, high = float(np.minimum(low, piece.min())), float(np.maximum(high, piece.max()))
        if values.dtype.kind in "ui" and low >= 0 and high <= 255:
            found[start : start + len(piece)] = piece
        start += len(piece)
    if values.dtype.kind == "f":
        raise RhobetaError(
            f"{name} holds {values.dtype} from {low:g} to {high:g}; expected bytes (uint8, 0 to"
            f" 255).\n{_float_advice(low, high)}"
        )
    if not (low >= 0 and high <= 255):
        advice = "16-bit values become bytes with `(images // 257).astype('uint8')`"
        raise RhobetaError(
            f"{name} holds integers from {low:.0f} to {high:.0f}; expected 0 to 255.\n"
            f"{advice if 4096 <= high <= 65535 and low >= 0 else 'Scale them to 0 to 255 first'}."
        )
    return found.reshape(shape)


def label_bytes(values: Values, name: str) -> NDArray[np.uint8]:
    """Labels as bytes (shape: [images]), also of whole numbers in other types or as a column.

    Raises `RhobetaError`, which names `name`, unless they are whole numbers from 0 to 255.
    """
    if math.prod(values.shape) != max(values.shape, default=0):
        one_hot = "\nOne-hot labels become numbers with labels.argmax(1)."
        raise RhobetaError(
            f"{name} has the shape {values.shape}; expected one label an image, (images,)."
            f"{one_hot if len(values.shape) == 2 else ''}"
        )
    if isinstance(values, np.ndarray):
        return values.reshape(-1)
    pieces = [piece.reshape(-1) for piece in values.pieces(_rows(values))]
    found = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    whole = found.dtype.kind in "buif"
    if whole:
        # False for NaN as well.
        with np.errstate(invalid="ignore"):
            wrong = ~((found >= 0) & (found <= 255) & (found == np.rint(found.astype(float))))
    if not whole or wrong.any():
        example = found[wrong][0] if whole else found[0]
        raise RhobetaError(
            f"{name} holds {found.dtype} such as {str(example)!r}; expected labels that are whole"
            " numbers from 0 to 255.\nnp.unique(labels, return_inverse=True)[1] numbers at most"
            " 256 classes from 0."
        )
    return found.astype(np.uint8)


def unit_interval(values: NDArray[Any], name: str, first: int) -> NDArray[np.float32]:
    """Rows of pixels ([images, pixels]) as numbers in [0, 1].

    Integers count as 0 to 255. Raises `RhobetaError` for a value out of range, which names `name`,
    the image, counted from `first`, and the pixel.
    """
    if values.dtype == np.uint8:
        return pixels_of(values)
    low, high = values.min(), values.max()
    whole = values.dtype.kind in "ui"
    # Both comparisons are false for NaN.
    if whole and low >= 0 and high <= 255:
        return pixels_of(values.astype(np.uint8))
    if not whole and low >= 0 and high <= 1:
        return values.astype(np.float32)
    wrong = ~((values >= 0) & (values <= (255 if whole else 1)))
    image, pixel = np.argwhere(wrong)[0]
    value = values[image, pixel]
    allowed = "integers must be from 0 to 255" if whole else "floats must be from 0 to 1"
    white = 255 if high <= 255 else 65535
    hint = f"\nIf white is {white}, divide by {white}." if low >= 0 and high <= white else ""
    raise RhobetaError(
        f"{name}: image {first + image} (the first is 0) has the value {value} at pixel {pixel};"
        f" {allowed}.{hint}"
    )


def without_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of images without a channel of size one, last or after the first axis.

    >>> without_channel((60, 28, 28, 1)), without_channel((60, 1, 28, 28))
    ((60, 28, 28), (60, 28, 28))
    """
    if len(shape) == 4 and 1 in (shape[3], shape[1]):
        return shape[:3] if shape[3] == 1 else (shape[0], *shape[2:])
    return shape


def dim_note(largest: float, white: int, name: str) -> str | None:
    """A note where the brightest grey level is far below white.

    >>> dim_note(1, 255, "x.npz")
    'no value of x.npz is above 1, but white is 255: scale the values if they are not this dark'
    """
    if largest >= _DIM * white:
        return None
    return (
        f"no value of {name} is above {largest:g}, but white is {white}: scale the values if they"
        " are not this dark"
    )


def _rows(values: StoredArray) -> int:
    size = math.prod(values.shape[1:]) * values.dtype.itemsize
    return max(1, _PIECE_BYTES // max(1, size))


def _shape_advice(shape: tuple[int, ...]) -> str:
    if 0 in shape:
        return "\nLeave empty arrays out; without test images, data.test_fraction holds some out."
    if len(shape) == 4 and 3 in (shape[1], shape[3]):
        axis = -1 if shape[3] == 3 else 1
        return f"\nColours become grey with images.mean({axis}).round().astype('uint8')."
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        size = f"{side}, {side}" if side**2 == shape[1] else "height, width"
        return f"\nRows of pixels become images with images.reshape(-1, {size})."
    return ""


def _float_advice(low: float, high: float) -> str:
    if math.isnan(low):
        return "Some are NaN: replace or leave out these images."
    if low >= 0 and high <= 1:
        return "Images in [0, 1] become bytes with `(images * 255).round().astype('uint8')`."
    if low >= 0 and high <= 255:
        return "They become bytes with `images.round().astype('uint8')`."
    return "Scale them to 0 to 255 first, then `images.round().astype('uint8')`."
