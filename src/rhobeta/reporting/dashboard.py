"""The unit dashboard: one self-contained HTML page with a card for each unit."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.evaluation import TestRecord
from rhobeta.metrics.units import class_preferences, firing_counts
from rhobeta.model.serialization import SavedModel
from rhobeta.reporting.pages import png_source, render_page
from rhobeta.reporting.pictures import decoder_filters
from rhobeta.reporting.style import DIVERGING
from rhobeta.reporting.vectors import Weight, largest_features
from rhobeta.reporting.words import TestSamples

if TYPE_CHECKING:
    from PIL import Image

# Pictures have at most this many pixels a side, which keeps the page small.
_LARGEST_SIDE = 56
_SHADES = 101
_COLUMNS = 3
# Of vectors: the features listed, and from how many on their weights are also a line.
_FEATURES = 6
_IN_THE_REPORT = 20
_LINE_FROM, _LINE_POINTS = 31, 120


@dataclass(frozen=True)
class Bar:
    """The mean activity of a unit for one class."""

    name: str
    mean: float
    percent: float
    """Of the largest bar of the unit, 0 to 100."""
    best: bool


@dataclass(frozen=True)
class CardClasses:
    """What a unit has to do with the classes."""

    best: int
    """Label of the best class."""
    best_name: str
    selectivity: float
    bars: list[Bar]


@dataclass(frozen=True)
class RowLink:
    """A row that excites a unit."""

    row: int
    activity: float
    class_name: str | None


@dataclass(frozen=True)
class Card:
    """What the page shows of a unit."""

    unit: int
    """Its index in the code, from 0."""
    fired: int
    firing_rate: float
    filter: str
    """Picture of its decoder filter, as an image source; empty for vectors."""
    images: str
    """Picture of the images that excite it most; empty for an inactive unit and for vectors."""
    shown: int
    """Number of the samples that excite it most."""
    classes: CardClasses | None = None
    """None: there are no labels."""
    features: list[Weight] = field(default_factory=list)
    """Of vectors: the largest weights of its decoder."""
    line: str = ""
    """Of vectors of many features: its weights as the points of an SVG line."""
    rows: list[RowLink] = field(default_factory=list)
    """Of vectors: the rows that excite it most, the strongest first."""


@dataclass(frozen=True)
class CardGroup:
    """Units with the same best class, the most selective first; without labels all that fire."""

    anchor: str
    title: str
    link: str
    """Words of the link to the group."""
    cards: list[Card]


def render_dashboard(
    saved: SavedModel, record: TestRecord, test: TestSamples, *, count: int
) -> str:
    """The page of the `count` most active units in the record, as HTML."""
    groups = group_cards(unit_cards(decoder_filters(saved.model), record, test, count=count))
    return render_page(
        "dashboard.html.j2",
        saved,
        groups=groups,
        shown=sum(len(group.cards) for group in groups),
        units=saved.model.architecture.units,
        samples=len(test),
        words=test.words,
        colour=len(test.samples.shape) == 3,
        labelled=test.labels is not None,
        threshold=record.l0_threshold.item(),
        deep=len(saved.model.decoder) > 1,
    )


def unit_features(saved: SavedModel, record: TestRecord, test: TestSamples) -> list[Card]:
    """The cards of the twenty most active units of vectors, for the report's table."""
    cards = unit_cards(decoder_filters(saved.model), record, test, count=_IN_THE_REPORT)
    return [card for card in cards if card.fired]


def unit_cards(
    filters: NDArray[np.float32], record: TestRecord, test: TestSamples, *, count: int
) -> list[Card]:
    """Cards of the `count` most active units; `filters` are of all ([units, *sample])."""
    units = record.top_units[:count]
    activity = record.activity[:, units]
    fired = firing_counts(activity, threshold=record.l0_threshold.item())
    classes = _card_classes(activity, test)
    cards = []
    for place, unit in enumerate(units.tolist()):
        rows = record.top_rows[place][record.top_rows[place] >= 0]
        card = Card(
            unit=unit,
            fired=int(fired[place]),
            firing_rate=float(fired[place] / len(activity)),
            filter="",
            images="",
            shown=len(rows),
            classes=classes[place],
        )
        if test.words.images:
            images = png_source(images_png(test.samples.values[rows])) if len(rows) else ""
            card = replace(card, filter=png_source(filter_png(filters[unit])), images=images)
        else:
            card = replace(
                card,
                features=largest_features(filters[unit], test, count=_FEATURES),
                line=_line(filters[unit]),
                rows=[_row_link(row, record.activity[row, unit], test) for row in rows.tolist()],
            )
        cards.append(card)
    return cards


def _card_classes(activity: NDArray[np.float32], test: TestSamples) -> Sequence[CardClasses | None]:
    """What each unit ([samples, units]) has to do with the classes; None without labels."""
    if test.labels is None:
        return [None] * activity.shape[1]
    found = class_preferences(activity, test.labels)
    names = [test.class_name(label) for label in found.classes.tolist()]
    return [
        CardClasses(
            best,
            test.class_name(best),
            selectivity,
            [
                Bar(name, mean, 100 * mean / (max(means) or 1), label == best)
                for name, label, mean in zip(names, found.classes.tolist(), means, strict=True)
            ],
        )
        for best, selectivity, means in zip(
            found.best.tolist(), found.selectivity.tolist(), found.means.tolist(), strict=True
        )
    ]


def _row_link(row: int, activity: np.float32, test: TestSamples) -> RowLink:
    name = None if test.labels is None else test.class_name(int(test.labels[row]))
    return RowLink(row, float(activity), name)


def _line(weights: NDArray[np.float32]) -> str:
    """Weights ([features]) as points of a line in a box of 100 x 100, 0 in the middle."""
    if len(weights) < _LINE_FROM:
        return ""
    # Of many features the larger of neighbours, so that no peak is lost.
    pieces = np.array_split(weights, min(len(weights), _LINE_POINTS))
    values = np.array([piece[np.abs(piece).argmax()] for piece in pieces])
    heights = 50 - 50 * values / (np.abs(values).max() or 1)
    across = np.linspace(0, 100, len(values))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, heights, strict=True))


def group_cards(cards: list[Card]) -> list[CardGroup]:
    """Cards by best class, the most selective first; units that are never active come last.

    Without labels the cards keep their order.
    """

    def heading(card: Card) -> tuple[bool, int]:
        inactive = card.fired == 0
        return inactive, 0 if inactive or card.classes is None else card.classes.best

    def place(card: Card) -> tuple[bool, int, float, int]:
        if card.classes is None:
            return (*heading(card), 0, 0)
        return (*heading(card), -card.classes.selectivity, card.unit)

    ordered = sorted(cards, key=place)
    return [_group(list(group)) for _, group in groupby(ordered, heading)]


def _group(cards: list[Card]) -> CardGroup:
    first = cards[0]
    if first.fired == 0:
        return CardGroup("inactive", "Units that are never active", "never active", cards)
    if first.classes is None:
        return CardGroup("active", "Units, the most active first", "active", cards)
    name = f"class {first.classes.best_name}"
    return CardGroup(f"class-{first.classes.best}", f"C{name[1:]}", name, cards)


def filter_png(weights: NDArray[np.float32]) -> bytes:
    """A filter as PNG, its largest weight full.

    Of grey images ([height, width]): red adds ink, blue removes it. Of colour images ([height,
    width, 3]): the colour that it adds to grey.
    """
    from matplotlib import colormaps
    from PIL import Image

    largest = np.abs(weights).max()
    if weights.ndim == 3:
        shades = np.rint((weights / (largest or 1) + 1) / 2 * 255).astype(np.uint8)
        colours = Image.fromarray(shades)
        colours.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
        return _png(colours)
    scaled = Image.fromarray(weights / largest if largest > 0 else weights)
    scaled.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    places = (np.asarray(scaled).clip(-1, 1) + 1) / 2 * (_SHADES - 1)
    picture = Image.fromarray(np.rint(places).astype(np.uint8))
    palette = colormaps[DIVERGING](np.linspace(0, 1, _SHADES), bytes=True)[:, :3]
    picture.putpalette(palette.tobytes())
    return _png(picture)


def images_png(images: NDArray[np.uint8]) -> bytes:
    """Images as one PNG, three to a row.

    Grey ones ([images, height, width]) are dark ink on white, others ([images, height, width, 3])
    in colour.
    """
    from PIL import Image

    colour = images.ndim == 4
    tiles = []
    for image in images:
        tile = Image.fromarray(image if colour else 255 - image)
        tile.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
        tiles.append(tile)
    width, height = tiles[0].size
    rows = -(-len(tiles) // _COLUMNS)
    size = (_COLUMNS * (width + 1) - 1, rows * (height + 1) - 1)
    sheet = Image.new("RGB", size, "white") if colour else Image.new("L", size, 255)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, _COLUMNS)
        sheet.paste(tile, (column * (width + 1), row * (height + 1)))
    return _png(sheet)


def _png(picture: "Image.Image") -> bytes:
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return file.getvalue()
