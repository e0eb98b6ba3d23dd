"""Pictures in files: one image each, decoded by Pillow itself, never by a program."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.errors import RhobetaError

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
_ORIENTATION = 0x0112  # in EXIF: from 5 on, width and height are exchanged


class PicturePixels(NamedTuple):
    """A picture as a row of numbers: grey levels, or red, green and blue of each pixel."""

    pixels: NDArray[np.float32]
    """In [0, 1] (shape: [pixels] or [3 * pixels])."""
    white: int
    """255, or 65535 in a picture of 16 bits."""
    coloured: bool
    """Whether it has colours, which may have been converted to grey."""


def read_picture(file: Path, shape: tuple[int, ...]) -> PicturePixels:
    """Read a picture of `shape`, turned as its EXIF data says.

    Of shape (height, width) colours become grey (ITU-R 601); of (height, width, 3) they stay, and
    grey levels stand for all three. Raises `RhobetaError` for a picture of another size, with
    transparent pixels or with several frames, and for a file that is none.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        # A stream: by its name, Pillow 13 maps a turned TIFF into memory at its turned size.
        with (
            file.open("rb") as stream,
            Image.open(stream, formats=sorted(set(FORMATS.values()))) as picture,
        ):
            # Before anything is decompressed, since a small file may hold gigabytes.
            _require_size(picture, file, shape[:2])
            return _pixels(_turned(picture, file, shape[:2]), file, colour=len(shape) == 3)
    except (RhobetaError, PermissionError):
        raise
    except UnidentifiedImageError:
        formats = ", ".join(dict.fromkeys(FORMATS.values()))
        raise RhobetaError(
            f"{file} cannot be read as a picture: its content is none of {formats}.\nReplace it, or"
            " move it away."
        ) from None
    except Exception as error:
        # Pillow raises a dozen kinds of exception for damaged files.
        reason = str(error) or type(error).__name__
        raise RhobetaError(
            f"{file} cannot be read as a picture: {reason}.\nReplace it, or move it away."
        ) from None


def _require_size(picture: Any, file: Path, shape: tuple[int, ...]) -> None:
    width, height = picture.size
    turned = (height, width) != shape and (width, height) == shape
    if (height, width) != shape and not (turned and picture.getexif().get(_ORIENTATION, 1) >= 5):
        raise RhobetaError(
            f"{file} has {height} x {width} pixels; the model expects {shape[0]} x {shape[1]}.\n"
            "Pictures are not resized: choose yourself how to do it."
        )


def _turned(picture: Any, file: Path, shape: tuple[int, ...]) -> Any:
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(picture)
    try:
        # Not `n_frames`, for which a TIFF of many frames takes quadratic time.
        picture.seek(1)
    except EOFError:
        pass
    else:
        raise RhobetaError(f"{file} holds several pictures; expected one per file.")
    if turned.size != shape[::-1]:
        width, height = turned.size
        raise RhobetaError(
            f"{file} has {height} x {width} pixels as its EXIF data turns it; the model expects"
            f" {shape[0]} x {shape[1]}."
        )
    return turned


def _pixels(picture: Any, file: Path, *, colour: bool) -> PicturePixels:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        values = np.asarray(picture)
        if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
            raise RhobetaError(
                f"{file} holds numbers of more than 16 bits; expected grey levels of 8 or 16."
            )
        levels = (values / 65535).astype(np.float32).reshape(-1)
        return PicturePixels(np.repeat(levels, 3) if colour else levels, 65535, coloured=False)
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
    kept = colours if colour else np.asarray(picture.convert("L"))
    return PicturePixels(pixels_of(kept[None]).reshape(-1), 255, coloured)
