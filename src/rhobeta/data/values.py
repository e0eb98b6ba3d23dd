"""What the values of arrays mean: images, vectors and labels, checked and brought into one form."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.samples import pixels_of
from rhobeta.data.sources import Source
from rhobeta.errors import RhobetaError

Color = Literal["grey", "rgb"]

_PIECE_BYTES = 2 << 20
# Below this share of white, the brightest grey level of a data set is worth a note.
_DIM = 0.25
_MOST_CLASSES = 256
_GREY_OF_RGB = np.array([19595, 38470, 7471])  # ITU-R 601 in 1/65536, as Pillow has it


def sample_shape_of(shape: tuple[int, ...], name: str) -> tuple[int, ...]:
    """The shape of one sample of an array: (height, width), (height, width, 3) or (features,).

    Channels of size one are left out; three channels may come first or last. Raises `RhobetaError`,
    which names `name`, for arrays that are neither images nor vectors, and for empty ones.
    """
    found = without_channel(shape)
    if 0 in found or len(found) not in (2, 3, 4) or (len(found) == 4 and 3 not in found[1::2]):
        raise RhobetaError(
            f"{name} has the shape {shape}; expected images (images, height, width), colour images"
            " (images, height, width, 3) or (images, 3, height, width), or vectors (rows,"
            f" features){', at least one' if 0 in found else ''}.{_shape_advice(found)}"
        )
    if len(found) < 4:
        return found[1:]
    return found[1:] if found[3] == 3 else (*found[2:], 3)


def image_pieces(values: Source, name: str) -> Iterator[NDArray[np.uint8]]:
    """Images as bytes, some at a time ([images, height, width] or [images, height, width, 3]).

    Raises `RhobetaError`, which names `name`, for other shapes, and unless the values are integers
    from 0 to 255.
    """
    shape = sample_shape_of(values.shape, name)
    if values.dtype.kind not in "uif":
        advice = "\nimages * np.uint8(255) makes bytes of them." if values.dtype.kind == "b" else ""
        raise RhobetaError(
            f"{name} holds {values.dtype}; expected bytes (uint8, 0 to 255).{advice}"
        )
    first = len(shape) == 3 and without_channel(values.shape)[3] != 3
    low, high = math.inf, -math.inf
    for piece in values.pieces(piece_rows(values)):
        # NaN stays NaN in both.
        low, high = float(np.minimum(low, piece.min())), float(np.maximum(high, piece.max()))
        if values.dtype.kind in "ui" and low >= 0 and high <= 255:
            found = piece.astype(np.uint8)
            yield np.moveaxis(found, 1, -1) if first else found.reshape(len(found), *shape)
    if values.dtype.kind == "f":
        raise RhobetaError(
            f"{name} holds {values.dtype} from {low:g} to {high:g}; expected bytes (uint8, 0 to"
            f" 255).\n{_float_advice(low, high, shape)}"
        )
    if not (low >= 0 and high <= 255):
        advice = "16-bit values become bytes with `(images // 257).astype('uint8')`"
        raise RhobetaError(
            f"{name} holds integers from {low:.0f} to {high:.0f}; expected 0 to 255.\n"
            f"{advice if 4096 <= high <= 65535 and low >= 0 else 'Scale them to 0 to 255 first'}."
        )


def vector_pieces(
    values: Source,
    name: str,
    dtype: type[np.generic],
    feature_names: Sequence[str] | None = None,
) -> Iterator[NDArray[Any]]:
    """Vectors as floats of `dtype`, some rows at a time ([rows, features]).

    Raises `RhobetaError`, which names `name`, row and column, for values that are NaN, infinite, or
    too large for `dtype`.
    """
    start, fault, count = 0, "", 0
    for piece in values.pieces(piece_rows(values)):
        with np.errstate(over="ignore"):
            found = piece.astype(dtype, copy=False)
        wrong = ~np.isfinite(found)
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            count += int(wrong.sum())
            named = f" ({feature_names[column]})" if feature_names else ""
            value = piece[row, column]
            large = f", too large for {np.dtype(dtype)}" if np.isfinite(value) else ""
            fault = fault or (
                f"{name} holds {value} in row {start + row}, column {column}{named} (the first are"
                f" 0){large}"
            )
        if not fault:
            yield found
        start += len(piece)
    if fault:
        more = f" {count:,} values of {start:,} rows are like it." if count > 1 else ""
        raise RhobetaError(
            f"{fault}; expected finite numbers.{more}\nLeave such rows or columns out, or fill the"
            " values in, with np.nan_to_num or sklearn.impute.SimpleImputer."
        )


def to_color(images: NDArray[np.uint8], color: Color | None) -> NDArray[np.uint8]:
    """Images in grey (ITU-R 601, [n, height, width]) or in colour ([n, height, width, 3])."""
    if color == "grey" and images.ndim == 4:
        grey: NDArray[np.int64] = (images @ _GREY_OF_RGB + 0x8000) >> 16
        return grey.astype(np.uint8)
    if color == "rgb" and images.ndim == 3:
        return np.repeat(images[..., None], 3, axis=3)
    return images


def label_values(values: Source, name: str) -> NDArray[Any]:
    """Labels as they are (shape: [n]): whole numbers of any type, or text; also of a column.

    Raises `RhobetaError`, which names `name`, for others.
    """
    if math.prod(values.shape) != max(values.shape, default=0):
        one_hot = "\nOne-hot labels become numbers with labels.argmax(1)."
        raise RhobetaError(
            f"{name} has the shape {values.shape}; expected one label an image or row, (n,)."
            f"{one_hot if len(values.shape) == 2 else ''}"
        )
    pieces = [piece.reshape(-1) for piece in values.pieces(piece_rows(values))]
    found: NDArray[Any] = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    if found.dtype.kind == "S":
        return np.char.decode(found, "utf-8", "replace")
    if found.dtype.kind == "U":
        return found
    wrong = np.ones(len(found), bool)
    if found.dtype.kind in "buif":
        # False for NaN as well.
        with np.errstate(invalid="ignore"):
            wrong = ~(found == np.rint(found.astype(float))) | ~np.isfinite(found.astype(float))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise RhobetaError(
            f"{name} holds {found.dtype} such as {str(found[row])!r} in row {row} (the first is 0);"
            " expected labels that are whole numbers or text.\nIf they are no classes, set"
            " data.labels to false, which leaves them out."
        )
    return found.astype(np.int64)


def label_codes(
    labels: Sequence[NDArray[Any]], name: str
) -> tuple[list[NDArray[np.uint8]], list[str] | None]:
    """Labels of the splits as codes, and the name of each code from 0.

    Whole numbers from 0 to 255, also as text, are their own codes and have no names. Other labels
    are numbered in their order. Raises `RhobetaError` for more than 256 classes.
    """
    together = np.concatenate(labels)
    if together.dtype.kind == "U":
        labels, together = _whole_numbers(labels, together)
    if together.dtype.kind in "iu" and together.min() >= 0 and together.max() <= 255:
        return [part.astype(np.uint8) for part in labels], None
    classes, codes = np.unique(together, return_inverse=True)
    if len(classes) > _MOST_CLASSES:
        raise RhobetaError(
            f"{name} holds {len(classes):,} different labels; at most {_MOST_CLASSES} classes are"
            " told apart.\nMerge classes, or set data.labels to false, which leaves them out."
        )
    ends = np.cumsum([len(part) for part in labels])[:-1]
    return list(np.split(codes.astype(np.uint8), ends)), [str(label) for label in classes]


def _whole_numbers(
    labels: Sequence[NDArray[Any]], together: NDArray[Any]
) -> tuple[Sequence[NDArray[Any]], NDArray[Any]]:
    """Text that is whole numbers from 0 to 255 as numbers; other text as it is."""
    names = np.unique(together)
    if len(names) > _MOST_CLASSES or not set(names) <= set(map(str, range(_MOST_CLASSES))):
        return labels, together
    return [part.astype(np.int64) for part in labels], together.astype(np.int64)


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


def piece_rows(values: Source) -> int:
    """How many rows of an array are read at a time: 2 MiB, or one row that has more."""
    size = math.prod(values.shape[1:]) * values.dtype.itemsize
    return max(1, _PIECE_BYTES // max(1, size))


def _shape_advice(shape: tuple[int, ...]) -> str:
    if 0 in shape:
        return "\nLeave empty arrays out; without test images, data.test_fraction holds some out."
    if len(shape) == 4 and 4 in shape[1::2]:
        kept = "[..., :3]" if shape[3] == 4 else "[:, :3]"
        return f"\nThe fourth channel is opacity: images{kept} leaves it out."
    if len(shape) == 1:
        return "\nOne number a row becomes a column with values.reshape(-1, 1)."
    return ""


def _float_advice(low: float, high: float, shape: tuple[int, ...]) -> str:
    rows = f"\nVectors in more axes than two become rows: values.reshape(-1, {shape[-1]})."
    if math.isnan(low):
        return "Some are NaN: replace or leave out these images."
    if low >= 0 and high <= 1:
        return "Images in [0, 1] become bytes with `(images * 255).round().astype('uint8')`." + rows
    if low >= 0 and high <= 255:
        return "They become bytes with `images.round().astype('uint8')`." + rows
    return "Scale them to 0 to 255 first, then `images.round().astype('uint8')`." + rows
