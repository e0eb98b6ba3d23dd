"""The user's own images or vectors in batches: an array in an .npy or .npz file, or pictures.

Only headers are read before the batches, and one batch is in memory at a time. Nothing is resized.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.numpy_files import (
    NPY_START,
    ZIP_START,
    array_names,
    describe_arrays,
    open_array,
)
from rhobeta.data.other_formats import way_in
from rhobeta.data.picture_files import FORMATS, read_picture
from rhobeta.data.samples import describe_shape
from rhobeta.data.values import dim_note, unit_interval, without_channel
from rhobeta.errors import RhobetaError
from rhobeta.utils.files import visible_files

Batches = Iterator[NDArray[np.float32]]

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Images:
    """Images or vectors of the size that a model expects."""

    count: int
    names: list[str] | None
    """Names of the files in a folder; None for an array."""
    batches: Callable[[int], Batches]
    """Batches with at most this many rows ([samples, features], float32); images in [0, 1]."""
    notes: list[str] = field(default_factory=list)
    """What the user should know. Complete after the last batch."""


def open_images(path: Path, shape: tuple[int, ...]) -> Images:
    """The samples at `path`, each of `shape`: (height, width), (height, width, 3) or (features,).

    Raises `RhobetaError`, here or at the batch concerned, where there are none, they have another
    size, values of images are outside 0 to 255 (integers) or 0 to 1 (floats), or values of vectors
    are not finite.
    """
    if len(shape) == 1 and (path.is_dir() or path.suffix.lower() in FORMATS):
        raise RhobetaError(
            f"{path} is a picture or a folder; the model expects {describe_shape(shape)}.\nName a"
            " .npy or .npz file with an array of numbers."
        )
    if path.is_dir():
        return _pictures(visible_files(path), path, shape)
    if not path.is_file():
        fault = "is neither a file nor a folder" if path.exists() else "does not exist"
        raise RhobetaError(
            f"{path} {fault}.\nName a .npy or .npz file, a picture, or a folder of pictures."
        )
    if path.suffix.lower() in FORMATS:
        return _pictures([path], path.parent, shape)
    with path.open("rb") as file:
        start = file.read(len(NPY_START))
    ending = path.suffix.lower()
    if start == NPY_START or ending == ".npy":
        return _array(path, shape)
    if (start.startswith(ZIP_START) and ending in ("", ".zip", ".npz")) or ending == ".npz":
        name, found = "images" if len(shape) > 1 else "values", array_names(path)
        # The only array of a file needs no name, where it can be nothing but rows of numbers.
        if len(shape) == 1 and len(found) == 1:
            name = found[0]
        if name not in found:
            raise RhobetaError(
                f"{path} holds the arrays {describe_arrays(path)}; expected one named {name}:"
                f" np.savez(file, {name}=...)."
            )
        return _array(path, shape, name)
    raise RhobetaError(
        f"{path} is not a file that is read here: {way_in(path)}.\nName a .npy or .npz file, a"
        f" picture ({', '.join(FORMATS)}), or a folder of pictures."
    )


def _array(path: Path, shape: tuple[int, ...], member: str | None = None) -> Images:
    with open_array(path, member) as array:
        found, dtype = array.shape, array.dtype
    features = math.prod(shape)
    vectors = len(shape) == 1
    usual = without_channel(found) if len(shape) == 2 else found
    if usual[1:] not in (shape, (features,)):
        what = "vectors" if vectors else "images"
        whole = f"({what}, {', '.join(map(str, shape))})"
        flat = "" if vectors else f" or ({what}, {features})"
        raise RhobetaError(
            f"{path} holds an array of shape {found}; the model expects {describe_shape(shape)}:"
            f" shape {whole}{flat}.{_hint(found, shape)}"
        )
    if found[0] < 1:
        raise RhobetaError(
            f"{path} holds no {'vector' if vectors else 'image'}: its array has the shape {found}."
        )
    if dtype.kind not in "uif":
        expected = "numbers" if vectors else "integers from 0 to 255 or floats from 0 to 1"
        raise RhobetaError(f"{path} holds {dtype}; expected {expected}.")
    notes: list[str] = []

    def batches(size: int) -> Batches:
        largest, start = 0.0, 0
        with open_array(path, member) as array:
            for values in array.pieces(size):
                rows = values.reshape(len(values), features)
                numbers = _finite if vectors else unit_interval
                batch = numbers(rows, str(path), start)
                largest = max(largest, float(values.max()))
                start += len(values)
                yield batch
        if not vectors:
            notes.extend(_dim_notes({1 if dtype.kind == "f" else 255: largest}, path.name))

    return Images(found[0], None, batches, notes)


def _finite(values: NDArray[Any], name: str, first: int) -> NDArray[np.float32]:
    """Rows of vectors as float32. Raises `RhobetaError` for a value that float32 cannot hold."""
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        row, feature = np.argwhere(~np.isfinite(numbers))[0]
        raise RhobetaError(
            f"{name}: row {first + row} (the first is 0) has the value {values[row, feature]} at"
            f" feature {feature}; expected finite numbers of 32 bits.\nReplace it, or leave the row"
            " out."
        )
    return numbers


def _hint(found: tuple[int, ...], shape: tuple[int, ...]) -> str:
    if found == shape:
        what = "vector" if len(shape) == 1 else "image"
        return f"\nA single {what} becomes such an array by {what}[None]."
    if len(shape) == 1:
        return ""
    if len(shape) == 3 and found[1:] == (3, *shape[:2]):
        return "\nChannels become the last axis with images.transpose(0, 2, 3, 1)."
    if len(shape) == 2 and len(found) == 4 and 3 in (found[1], found[3]):
        return f"\nColours become grey with images.mean({-1 if found[3] == 3 else 1})."
    return "\nImages are not resized: choose yourself how to do it."


def _pictures(files: list[Path], folder: Path, shape: tuple[int, ...]) -> Images:
    taken = [file for file in files if file.suffix.lower() in FORMATS and file.is_file()]
    pictures = set(taken)
    left = [file.name for file in files if file not in pictures]
    if not taken:
        held = f"; it holds {_some(left)}" if left else ""
        raise RhobetaError(
            f"{folder} holds no picture ({', '.join(FORMATS)}){held}.\nSubfolders are not searched."
        )
    notes = [f"skipped, not pictures: {_some(left)}"] if left else []

    def batches(size: int) -> Batches:
        coloured = 0
        largest: dict[int, float] = {}
        for start in range(0, len(taken), size):
            rows = []
            for file in taken[start : start + size]:
                pixels, white, had_colour = read_picture(file, shape)
                rows.append(pixels)
                coloured += had_colour
                largest[white] = max(largest.get(white, 0), white * float(pixels.max()))
            yield np.stack(rows)
        if coloured and len(shape) == 2:
            notes.append(f"{coloured} colour pictures were converted to grey (ITU-R 601)")
        notes.extend(_dim_notes(largest, "the pictures"))

    return Images(len(taken), [file.name for file in taken], batches, notes)


def _dim_notes(largest: dict[int, float], name: str) -> list[str]:
    found = (dim_note(value, white, name) for white, value in largest.items())
    return [note for note in found if note is not None]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{more}"
