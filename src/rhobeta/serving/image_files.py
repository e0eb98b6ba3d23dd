"""The user's own images in batches: arrays in .npy and .npz files, or a folder of pictures.

Only headers are read before the batches, and one batch is in memory at a time. Nothing is resized,
and no pickle is loaded.
"""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.errors import RhobetaError

Batches = Iterator[NDArray[np.float32]]

# Formats that Pillow decodes itself; for others it starts programs.
FORMATS = {
    ".bmp": "BMP",
    ".gif": "GIF",
    ".jpeg": "JPEG",
    ".jpg": "JPEG",
    ".pbm": "PPM",
    ".pgm": "PPM",
    ".png": "PNG",
    ".pnm": "PPM",
    ".ppm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}
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


def open_images(path: Path, shape: tuple[int, int]) -> Images:
    """The images at `path`, each of `shape` (height, width).

    Raises `RhobetaError`, here or at the batch concerned, where there are no images, they have
    another size, or their values are outside 0 to 255 (integers) or 0 to 1 (floats).
    """
    if path.is_dir():
        return _pictures(sorted(path.iterdir(), key=lambda file: file.name), path, shape)
    if not path.is_file():
        raise RhobetaError(
            f"{path} does not exist.\nName a .npy or .npz file, a picture, or a folder of pictures."
        )
    if path.suffix.lower() in FORMATS:
        return _pictures([path], path.parent, shape)
    if path.suffix == ".npz":
        return _array(path, shape, lambda: _npz_stream(path))
    if path.suffix == ".npy":
        return _array(path, shape, lambda: _npy_stream(path))
    raise RhobetaError(
        f"{path} has an unknown file type.\nName a .npy or .npz file, a picture"
        f" ({', '.join(FORMATS)}), or a folder of pictures."
    )


# Arrays


@contextmanager
def _npy_stream(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as stream:
        yield stream


@contextmanager
def _npz_stream(path: Path) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "images" not in names:
            shown = ", ".join(names[:_NAMES_SHOWN]) or "none"
            raise RhobetaError(
                f"{path} holds the arrays {shown}; expected one named images:"
                " np.savez(file, images=...)."
            )
        with archive.open("images.npy") as stream:
            yield stream


def _array(path: Path, shape: tuple[int, int], opened: Any) -> Images:
    with _readable(path), opened() as stream:
        found, dtype = _header(stream)
    pixels = shape[0] * shape[1]
    if found[1:] not in (shape, (pixels,)):
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
        largest = 0.0
        with _readable(path), opened() as stream:
            _header(stream)
            for start in range(0, found[0], size):
                rows = min(size, found[0] - start)
                content = _exactly(stream, rows * pixels * dtype.itemsize)
                values = np.frombuffer(content, dtype).reshape(rows, pixels)
                batch = _scaled(values, path, start)
                largest = max(largest, float(values.max()))
                yield batch
        if dtype.kind in "ui" and largest <= 1:
            notes.append(
                f"no value of {path.name} is above {largest:g}, but integers are read as 0 to 255:"
                " if 1 is white, store floats"
            )

    return Images(found[0], None, batches, notes)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    from numpy.lib import format as npy

    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if fortran and len(shape) > 1:
        raise ValueError("its array is stored by columns; np.ascontiguousarray converts it")
    if any(type(size) is not int for size in shape):
        raise ValueError(f"its header declares the shape {shape}")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are not loaded")
    return shape, dtype


def _exactly(stream: IO[bytes], length: int) -> bytes:
    content = stream.read(length)
    if len(content) != length:
        raise ValueError("it is truncated: its header declares more images than it holds")
    return content


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Explain what numpy and zipfile raise for a damaged file."""
    try:
        yield
    except RhobetaError:
        raise
    except Exception as error:
        # A dozen kinds of exception.
        reason = str(error) or type(error).__name__
        raise RhobetaError(
            f"{path} is not a readable {path.suffix} file: {reason}.\n"
            "Write it with numpy.save or numpy.savez."
        ) from None


def _scaled(values: NDArray[Any], path: Path, start: int) -> NDArray[np.float32]:
    """The values in [0, 1]. Raises `RhobetaError` where they are out of range."""
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
    hint = "" if whole or not 1 < high <= 255 else "\nIf white is 255, divide by 255."
    raise RhobetaError(
        f"{path}: image {start + image} (the first is 0) has the value {value} at pixel {pixel};"
        f" {allowed}.{hint}"
    )


def _hint(found: tuple[int, ...], shape: tuple[int, int]) -> str:
    if found == shape:
        return "\nA single image becomes such an array by image[None]."
    if sorted(found[1:]) == sorted((1, *shape)):
        return "\narray.squeeze() removes a channel of size one."
    return "\nImages are not resized: choose yourself how to do it."


# Pictures


def _pictures(files: list[Path], folder: Path, shape: tuple[int, int]) -> Images:
    taken = [file for file in files if file.suffix.lower() in FORMATS and file.is_file()]
    pictures = set(taken)
    left = [file.name for file in files if file not in pictures and file.name[:1] != "."]
    if not taken:
        held = f"; it holds {_some(left)}" if left else ""
        raise RhobetaError(
            f"{folder} holds no picture ({', '.join(FORMATS)}){held}.\nSubfolders are not searched."
        )
    notes = [f"skipped, not pictures: {_some(left)}"] if left else []

    def batches(size: int) -> Batches:
        coloured = 0
        for start in range(0, len(taken), size):
            rows = []
            for file in taken[start : start + size]:
                row, had_colour = _picture(file, shape)
                rows.append(row)
                coloured += had_colour
            yield np.stack(rows)
        if coloured:
            notes.append(f"{coloured} colour pictures were converted to grey (ITU-R 601)")

    return Images(len(taken), [file.name for file in taken], batches, notes)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return f"{', '.join(names[:_NAMES_SHOWN])}{more}"


def _picture(file: Path, shape: tuple[int, int]) -> tuple[NDArray[np.float32], bool]:
    """The pixels of one picture as a row in [0, 1], and whether it had colours."""
    from PIL import Image

    try:
        with Image.open(file, formats=sorted(set(FORMATS.values()))) as picture:
            # Before decompressing, since a small file may hold gigabytes.
            _require_size(picture, file, shape)
            values, coloured = _grey(picture, file)
    except RhobetaError:
        raise
    except Exception as error:
        # Pillow raises a dozen kinds of exception for damaged files.
        reason = str(error) or type(error).__name__
        raise RhobetaError(
            f"{file} cannot be read as a picture: {reason}.\nReplace it, or move it away."
        ) from None
    return values.reshape(-1), coloured


def _require_size(picture: Any, file: Path, shape: tuple[int, int]) -> None:
    width, height = picture.size
    if (height, width) != shape:
        raise RhobetaError(
            f"{file} has {height} x {width} pixels; the model expects {shape[0]} x {shape[1]}.\n"
            "Pictures are not resized: choose yourself how to do it."
        )
    if getattr(picture, "n_frames", 1) > 1:
        raise RhobetaError(f"{file} holds several pictures; expected one per file.")


def _grey(picture: Any, file: Path) -> tuple[NDArray[np.float32], bool]:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise RhobetaError(
                f"{file} holds numbers of more than 16 bits; expected grey levels of 8 or 16."
            )
        return (values / 65535).astype(np.float32), False
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema()[0] < 255:
            raise RhobetaError(
                f"{file} has transparent pixels, which have no grey level.\nPut it on a background"
                " first."
            )
        picture = picture.convert("RGB")
    colours = np.asarray(picture.convert("RGB"))
    coloured = bool((colours != colours[..., :1]).any())
    return pixels_of(np.asarray(picture.convert("L"))[None]), coloured
