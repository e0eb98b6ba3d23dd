"""The unit dashboard: one self-contained HTML page with a card for each unit."""

import io
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.evaluation import TestRecord
from rhobeta.metrics.units import unit_statistics
from rhobeta.model.serialization import SavedModel
from rhobeta.reporting.pages import png_source, render_page
from rhobeta.reporting.pictures import decoder_filters
from rhobeta.reporting.style import DIVERGING

if TYPE_CHECKING:
    from PIL import Image

# Pictures have at most this many pixels a side, which keeps the page small.
_LARGEST_SIDE = 56
_SHADES = 101
_COLUMNS = 3


@dataclass(frozen=True)
class Bar:
    """The mean activity of a unit for one class."""

    label: int
    mean: float
    percent: float
    """Of the largest bar of the unit, 0 to 100."""
    best: bool


@dataclass(frozen=True)
class Card:
    """What the page shows of a unit."""

    unit: int
    """Its index in the code, from 0."""
    best_class: int
    fired: int
    firing_rate: float
    selectivity: float
    filter: str
    """Picture of its decoder filter, as an image source."""
    images: str
    """Picture of the images that excite it most; empty for an inactive unit."""
    shown: int
    """Number of these images."""
    bars: list[Bar]


@dataclass(frozen=True)
class CardGroup:
    """Units with the same best class, the most selective first."""

    best_class: int | None
    """None for units that are never active."""
    cards: list[Card]


def render_dashboard(saved: SavedModel, record: TestRecord, *, count: int) -> str:
    """The page of the `count` most active units in the record, as HTML."""
    groups = group_cards(unit_cards(decoder_filters(saved.model), record, count=count))
    return render_page(
        "dashboard.html.j2",
        saved,
        groups=groups,
        shown=sum(len(group.cards) for group in groups),
        units=saved.model.architecture.units,
        images=len(record.labels),
        threshold=record.l0_threshold.item(),
        deep=len(saved.model.decoder) > 1,
    )


def unit_cards(filters: NDArray[np.float32], record: TestRecord, *, count: int) -> list[Card]:
    """Cards of the `count` most active units; `filters` are of all ([units, height, width])."""
    units = record.top_units[:count]
    found = unit_statistics(
        record.activity[:, units], record.labels, threshold=record.l0_threshold.item()
    )
    cards = []
    for place, unit in enumerate(units.tolist()):
        means = found.class_means[place]
        images = record.top_images[place][: found.fired[place]]
        cards.append(
            Card(
                unit=unit,
                best_class=int(found.best_class[place]),
                fired=int(found.fired[place]),
                firing_rate=float(found.firing_rate[place]),
                selectivity=float(found.selectivity[place]),
                filter=png_source(filter_png(filters[unit])),
                images=png_source(images_png(images)) if len(images) else "",
                shown=len(images),
                bars=[
                    Bar(int(label), float(mean), 100 * float(mean) / (means.max() or 1), best)
                    for label, mean, best in zip(
                        found.classes, means, found.classes == found.best_class[place], strict=True
                    )
                ],
            )
        )
    return cards


def group_cards(cards: list[Card]) -> list[CardGroup]:
    """Cards by best class, the most selective first; units that are never active come last."""

    def heading(card: Card) -> tuple[bool, int]:
        inactive = card.fired == 0
        return inactive, 0 if inactive else card.best_class

    ordered = sorted(cards, key=lambda card: (*heading(card), -card.selectivity, card.unit))
    return [
        CardGroup(None if inactive else best_class, list(group))
        for (inactive, best_class), group in groupby(ordered, heading)
    ]


def filter_png(weights: NDArray[np.float32]) -> bytes:
    """A filter ([height, width]) as PNG, red adds ink, blue removes it, its largest weight full."""
    from matplotlib import colormaps
    from PIL import Image

    largest = np.abs(weights).max()
    scaled = Image.fromarray(weights / largest if largest > 0 else weights)
    scaled.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    places = (np.asarray(scaled).clip(-1, 1) + 1) / 2 * (_SHADES - 1)
    picture = Image.fromarray(np.rint(places).astype(np.uint8))
    palette = colormaps[DIVERGING](np.linspace(0, 1, _SHADES), bytes=True)[:, :3]
    picture.putpalette(palette.tobytes())
    return _png(picture)


def images_png(images: NDArray[np.uint8]) -> bytes:
    """Images ([images, height, width]) as one PNG, three to a row, dark ink on white."""
    from PIL import Image

    tiles = []
    for image in images:
        tile = Image.fromarray(255 - image)
        tile.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
        tiles.append(tile)
    width, height = tiles[0].size
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new("L", (_COLUMNS * (width + 1) - 1, rows * (height + 1) - 1), 255)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(tile, (column * (width + 1), row * (height + 1)))
    return _png(sheet)


def _png(picture: "Image.Image") -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()
