"""Thumbnails of images: many small pictures in one PNG, for a page that shows one at a time."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rhobeta.reporting.pages import png_source

if TYPE_CHECKING:
    from PIL import Image

# All thumbnails together have about this many pixels; noise compresses to half a byte a pixel.
_PIXELS = 1_600_000
_LARGEST_SIDE, _SMALLEST_SIDE = 28, 8
_SHADES = 16
_COLOURS = 64
_COLUMNS = 50


@dataclass(frozen=True)
class Thumbnails:
    """Equal squares in rows, from the upper left."""

    source: str
    """The picture, as an image source."""
    side: int
    """Of a square, in pixels."""
    columns: int
    """Squares in a row."""


def make_thumbnails(images: NDArray[np.uint8]) -> Thumbnails:
    """Thumbnails of images, in their order.

    Grey ones ([images, height, width]) have 16 shades, dark ink on white. Colour ones ([images,
    height, width, 3]) share a palette of 64 colours.
    """
    from PIL import Image

    side = int(np.sqrt(_PIXELS / len(images)))
    side = max(_SMALLEST_SIDE, min(_LARGEST_SIDE, side, max(images.shape[1:3])))
    rows = -(-len(images) // _COLUMNS)
    colour = images.ndim == 4
    sheet = np.full((rows * side, _COLUMNS * side, *images.shape[3:]), 255, np.uint8)
    for place, pixels in enumerate(images):
        picture = Image.fromarray(pixels if colour else 255 - pixels)
        picture.thumbnail((side, side))
        row, column = divmod(place, _COLUMNS)
        top, left = row * side, column * side
        sheet[top : top + picture.height, left : left + picture.width] = np.asarray(picture)
    file = io.BytesIO()
    drawn = _in_colours(sheet) if colour else _in_shades(sheet)
    drawn.save(file, format="PNG", optimize=True)
    return Thumbnails(png_source(file.getvalue()), side, _COLUMNS)


def _in_shades(sheet: NDArray[np.uint8]) -> "Image.Image":
    from PIL import Image

    shades = Image.fromarray(sheet // (256 // _SHADES))
    grey = np.arange(_SHADES, dtype=np.uint8) * (255 // (_SHADES - 1))
    shades.putpalette(np.repeat(grey, 3).tobytes())
    return shades


def _in_colours(sheet: NDArray[np.uint8]) -> "Image.Image":
    from PIL import Image

    return Image.fromarray(sheet).quantize(
        _COLOURS, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
