"""Thumbnails of images: many small pictures in one PNG, for a page that shows one at a time."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.reporting.pages import png_source

# All thumbnails together have about this many pixels; noise compresses to half a byte a pixel.
_PIXELS = 1_600_000
_LARGEST_SIDE, _SMALLEST_SIDE = 28, 8
_SHADES = 16
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
    labels: tuple[int, ...]
    """The class of each."""


def make_thumbnails(images: NDArray[np.uint8], labels: NDArray[np.uint8]) -> Thumbnails:
    """Thumbnails of images ([images, height, width]) in 16 shades, dark ink on white."""
    from PIL import Image

    side = int(np.sqrt(_PIXELS / len(images)))
    side = max(_SMALLEST_SIDE, min(_LARGEST_SIDE, side, max(images.shape[1:])))
    rows = -(-len(images) // _COLUMNS)
    sheet = np.full((rows * side, _COLUMNS * side), 255, np.uint8)
    for place, pixels in enumerate(images):
        picture = Image.fromarray(255 - pixels)
        picture.thumbnail((side, side))
        row, column = divmod(place, _COLUMNS)
        top, left = row * side, column * side
        sheet[top : top + picture.height, left : left + picture.width] = np.asarray(picture)
    shades = Image.fromarray(sheet // (256 // _SHADES))
    grey = np.arange(_SHADES, dtype=np.uint8) * (255 // (_SHADES - 1))
    shades.putpalette(np.repeat(grey, 3).tobytes())
    file = io.BytesIO()
    shades.save(file, format="PNG", optimize=True)
    return Thumbnails(png_source(file.getvalue()), side, _COLUMNS, tuple(labels.tolist()))
