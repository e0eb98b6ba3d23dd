"""Pictures in files: one image each, decoded by Pillow itself, never by a program."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.samples import pixels_of
from rhobeta.data.values import Color
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
_MOST_PIXELS = 1 << 26
_ORIENTATION = 0x0112  # in EXIF: from 5 on, width and height are exchanged


class PicturePixels(NamedTuple):
    """A picture as a row of numbers: grey levels, or red, green and blue of each pixel."""

    pixels: NDArray[np.float32]
    """In [0, 1] (shape: [pixels] or [3 * pixels])."""
    white: int
    """255, or 65535 in a picture of 16 bits."""
    coloured: bool
    """Whether it has colours, which may have been converted to grey."""


class PictureKind(NamedTuple):
    """What the header of a picture says."""

    size: tuple[int, int]
    """(height, width), turned as its EXIF data says."""
    is_grey: bool
    """Whether it is stored in grey levels; colours that all happen to be grey are not."""


def picture_kind(file: Path) -> PictureKind:
    """Size and colour of a picture. Raises `RhobetaError` for a file that is none, or is huge."""
    with _opened(file) as picture:
        return _kind(picture, file)


def read_pixels(
    file: Path, size: tuple[int, int], *, resized: bool, color: Color
) -> NDArray[np.uint8]:
    """A picture as bytes ([height, width], or [height, width, 3] in colour), turned as EXIF says.

    With `resized` it is stretched to `size` (height, width), by Pillow's bilinear filter. 16-bit
    grey levels are rounded to 8 bits. Raises `RhobetaError` for a picture of another size that is
    not to be resized, with transparent pixels or with several frames, and for a file that is none.
    """
    from PIL import Image, ImageOps

    with _opened(file) as picture:
        found = _kind(picture, file).size
        if found != size and not resized:
            raise RhobetaError(
                f"{file} has {found[0]} x {found[1]} pixels, the first picture {size[0]} x"
                f" {size[1]}; expected one size.\nSet data.image_size, such as [{size[0]},"
                f" {size[1]}], to which all are resized."
            )
        turned = ImageOps.exif_transpose(picture)
        _require_one_frame(picture, file)
        if _is_deep(turned):
            levels = np.asarray(turned)
            _require_16_bits(turned, levels, file)
            turned = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
        plain = _without_alpha(turned, file).convert("L" if color == "grey" else "RGB")
        if found != size:
            plain = plain.resize(size[::-1], Image.Resampling.BILINEAR)
        return np.asarray(plain)


def _kind(picture: Any, file: Path) -> PictureKind:
    width, height = picture.size
    if width * height > _MOST_PIXELS:
        raise RhobetaError(
            f"{file} declares {height} x {width} pixels; a picture may have at most"
            f" {_MOST_PIXELS:,}.\nScale it down first."
        )
    if picture.getexif().get(_ORIENTATION, 1) >= 5:
        width, height = height, width
    return PictureKind((height, width), picture.mode in ("1", "L", "LA") or _is_deep(picture))


def read_picture(file: Path, shape: tuple[int, ...]) -> PicturePixels:
    """Read a picture of `shape`, turned as its EXIF data says.

    Of shape (height, width) colours become grey (ITU-R 601); of (height, width, 3) they stay, and
    grey levels stand for all three. Raises `RhobetaError` for a picture of another size, with
    transparent pixels or with several frames, and for a file that is none.
    """
    with _opened(file) as picture:
        # Before anything is decompressed, since a small file may hold gigabytes.
        _require_size(picture, file, shape[:2])
        return _pixels(_turned(picture, file, shape[:2]), file, colour=len(shape) == 3)


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        # A stream: by its name, Pillow 13 maps a turned TIFF into memory at its turned size.
        with (
            file.open("rb") as stream,
            Image.open(stream, formats=sorted(set(FORMATS.values()))) as picture,
        ):
            yield picture
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
    _require_one_frame(picture, file)
    if turned.size != shape[::-1]:
        width, height = turned.size
        raise RhobetaError(
            f"{file} has {height} x {width} pixels as its EXIF data turns it; the model expects"
            f" {shape[0]} x {shape[1]}."
        )
    return turned


def _require_one_frame(picture: Any, file: Path) -> None:
    try:
        # Not `n_frames`, for which a TIFF of many frames takes quadratic time.
        picture.seek(1)
    except EOFError:
        return
    raise RhobetaError(f"{file} holds several pictures; expected one per file.")


def _pixels(picture: Any, file: Path, *, colour: bool) -> PicturePixels:
    if _is_deep(picture):
        values = np.asarray(picture)
        _require_16_bits(picture, values, file)
        levels = (values / 65535).astype(np.float32).reshape(-1)
        return PicturePixels(np.repeat(levels, 3) if colour else levels, 65535, coloured=False)
    picture = _without_alpha(picture, file)
    colours = np.asarray(picture.convert("RGB"))
    coloured = bool((colours != colours[..., :1]).any())
    kept = colours if colour else np.asarray(picture.convert("L"))
    return PicturePixels(pixels_of(kept[None]).reshape(-1), 255, coloured)


def _is_deep(picture: Any) -> bool:
    """Whether it holds grey levels of more than 8 bits."""
    return picture.mode in ("I", "F") or bool(picture.mode.startswith("I;16"))


def _require_16_bits(picture: Any, values: NDArray[Any], file: Path) -> None:
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise RhobetaError(
            f"{file} holds numbers of more than 16 bits; expected grey levels of 8 or 16."
        )


def _without_alpha(picture: Any, file: Path) -> Any:
    if not picture.has_transparency_data:
        return picture
    picture = picture.convert("RGBA")
    if picture.getchannel("A").getextrema()[0] < 255:
        raise RhobetaError(
            f"{file} has transparent pixels, which have no grey level.\nPut it on a background"
            " first."
        )
    return picture.convert("RGB")
