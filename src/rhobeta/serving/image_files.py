"""The user's own images in batches: an array in an .npy or .npz file, or pictures.

Only headers are read before the batches, and one batch is in memory at a time. Nothing is resized.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

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
from rhobeta.data.values import dim_note, unit_interval, without_channel
from rhobeta.errors import RhobetaError
from rhobeta.utils.files import visible_files

Batches = Iterator[NDArray[np.float32]]

_NAMES_SHOWN = 5


@dataclass(frozen=True)
class Images:
    """Images of the size that a model expects."""

    count: int
    names: list[str] | None
    """Names of the files in a folder; None for an array."""
    batches: Callable[[int], Batches]
    """Batches with at most this many rows ([images, pixels], float32 in [0, 1])."""
    notes: list[str] = field(default_factory=list)
    """What the user should know. Complete after the last batch."""


def open_images(path: Path, shape: tuple[int, ...]) -> Images:
    """The images at `path`, each of `shape` (height, width).

    Raises `RhobetaError`, here or at the batch concerned, where there are no images, they have
    another size, or their values are outside 0 to 255 (integers) or 0 to 1 (floats).
    """
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
        if "images" not in array_names(path):
            raise RhobetaError(
                f"{path} holds the arrays {describe_arrays(path)}; expected one named images:"
                " np.savez(file, images=...)."
            )
        return _array(path, shape, "images")
    raise RhobetaError(
        f"{path} is not a file that is read here: {way_in(path)}.\nName a .npy or .npz file, a"
        f" picture ({', '.join(FORMATS)}), or a folder of pictures."
    )


def _array(path: Path, shape: tuple[int, ...], member: str | None = None) -> Images:
    with open_array(path, member) as array:
        found, dtype = array.shape, array.dtype
    pixels = shape[0] * shape[1]
    if without_channel(found)[1:] not in (shape, (pixels,)):
        raise RhobetaError(
            f"{path} holds an array of shape {found}; the model expects images of {shape[0]} x"
            f" {shape[1]} pixels: shape (images, {shape[0]}, {shape[1]}) or (images, {pixels})."
            f"{_hint(found, shape)}"
        )
    if found[0] < 1:
        raise RhobetaError(f"{path} holds no image: its array has the shape {found}.")
    if dtype.kind not in "uif":
        raise RhobetaError(
            f"{path} holds {dtype}; expected integers from 0 to 255 or floats from 0 to 1."
        )
    notes: list[str] = []

    def batches(size: int) -> Batches:
        largest, start = 0.0, 0
        with open_array(path, member) as array:
            for values in array.pieces(size):
                batch = unit_interval(values.reshape(len(values), pixels), str(path), start)
                largest = max(largest, float(values.max()))
                start += len(values)
                yield batch
        notes.extend(_dim_notes({1 if dtype.kind == "f" else 255: largest}, path.name))

    return Images(found[0], None, batches, notes)


def _hint(found: tuple[int, ...], shape: tuple[int, ...]) -> str:
    if found == shape:
        return "\nA single image becomes such an array by image[None]."
    if len(found) == 4 and 3 in (found[1], found[3]):
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
        if coloured:
            notes.append(f"{coloured} colour pictures were converted to grey (ITU-R 601)")
        notes.extend(_dim_notes(largest, "the pictures"))

    return Images(len(taken), [file.name for file in taken], batches, notes)


def _dim_notes(largest: dict[int, float], name: str) -> list[str]:
    found = (dim_note(value, white, name) for white, value in largest.items())
    return [note for note in found if note is not None]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{more}"
