"""Figures of images: reconstructions with their codes, and decoder filters."""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from torch import nn

from rhobeta.model.autoencoder import Autoencoder
from rhobeta.reporting.style import DIVERGING, SEQUENTIAL

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_EXAMPLES = 12


def draw_reconstructions(
    examples: NDArray[np.float32],
    codes: NDArray[np.float32],
    reconstructions: NDArray[np.float32],
) -> "Figure":
    """Originals over their codes over their reconstructions.

    Images are [images, height, width] or [images, height, width, 3] in [0, 1]; `codes` are
    activities [images, units], each drawn as a square of units. Of more than twelve images, twelve
    are drawn, evenly spaced.
    """
    title = "Original"
    if len(examples) > _MOST_EXAMPLES:
        title += f", {_MOST_EXAMPLES} of {len(examples)} classes"
        shown = np.linspace(0, len(examples) - 1, _MOST_EXAMPLES).round().astype(int)
        examples, codes, reconstructions = examples[shown], codes[shown], reconstructions[shown]
    count, squares = len(examples), _squares(codes)
    figure, axes = plt.subplots(3, 1, figsize=(max(4.0, 0.92 * count), 3.9))
    rows = (
        (title, examples, "gray_r", 1.0),
        (f"Code: {codes.shape[1]} units, active ones bright", squares, SEQUENTIAL, codes.max()),
        ("Reconstructed", reconstructions, "gray_r", 1.0),
    )
    for axis, (name, images, colours, top) in zip(axes, rows, strict=True):
        gap = np.nan if images is squares else 1.0 if images.ndim == 4 else 0.25
        # An identity output may leave [0, 1]; colours cannot.
        picture = tiled(images.clip(0, 1) if images.ndim == 4 else images, columns=count, gap=gap)
        # All rows have the same width, whatever the size of their tiles.
        height = count * picture.shape[0] / picture.shape[1]
        axis.imshow(picture, cmap=colours, vmin=0, vmax=top, extent=(0, count, 0, height))
        # Titles start at the left edge, and may be wider than few images.
        axis.set_anchor("W")
        axis.set_title(name)
        axis.set_axis_off()
    return figure


def draw_filters(
    filters: NDArray[np.float32],
    order: NDArray[np.int64],
    title: str = "Decoder filters, most active unit first",
) -> "Figure":
    """Decoder filters ([units, height, width]) in `order`, each on its own scale.

    Those of colour images ([units, height, width, 3]) are drawn in their colours: grey is 0, a
    filter's largest weight makes its channel full or empty.
    """
    chosen = filters[order]
    largest = np.abs(chosen).reshape(len(chosen), -1).max(1)
    largest = np.where(largest > 0, largest, 1).reshape(-1, *[1] * (chosen.ndim - 1))
    scaled = (chosen / largest).astype(np.float32)
    colour = chosen.ndim == 4
    if colour:
        scaled = ((scaled + 1) / 2).astype(np.float32)
    columns = _even_columns(len(chosen))
    rows = -(-len(chosen) // columns)
    figure, axis = plt.subplots(
        figsize=(max(4.0, 0.62 * columns + 0.9), max(1.8, 0.62 * rows + 0.5))
    )
    gap = 1.0 if colour else np.nan
    image = axis.imshow(tiled(scaled, columns=columns, gap=gap), cmap=DIVERGING, vmin=-1, vmax=1)
    axis.set_title(title)
    axis.set_axis_off()
    if colour:
        return figure
    bar = figure.colorbar(image, ax=axis, shrink=0.6, ticks=[-1, 0, 1], pad=0.01)
    bar.ax.set_yticklabels(["removes ink", "0", "adds ink"])
    bar.outline.set_visible(False)
    return figure


def decoder_filters(model: Autoencoder) -> NDArray[np.float32]:
    """What each unit adds to a sample (shape: [units, *shape of a sample]).

    With one decoder layer this is the unit's column of weights; with more, the change of the
    reconstruction when the unit alone goes from 0 to 1.
    """
    units, shape = model.architecture.units, model.architecture.sample_shape
    with torch.inference_mode():
        if len(model.decoder) == 1:
            columns = cast(nn.Linear, model.decoder[0]).weight.T
        else:
            columns = model.decode(torch.eye(units)) - model.decode(torch.zeros(1, units))
    filters: NDArray[np.float32] = columns.detach().reshape(units, *shape).numpy()
    return filters


def _even_columns(count: int) -> int:
    # Fewest empty places; among those the widest grid, up to four times as wide as high.
    root = int(np.ceil(np.sqrt(count)))
    return min(range(root, 2 * root + 1), key=lambda columns: (-count % columns, -columns))


def _squares(codes: NDArray[np.float32]) -> NDArray[np.float32]:
    # Units row by row in the smallest square that holds them; remaining places stay empty.
    side = int(np.ceil(np.sqrt(codes.shape[1])))
    squares = np.full((len(codes), side * side), np.nan, dtype=np.float32)
    squares[:, : codes.shape[1]] = codes
    return squares.reshape(len(codes), side, side)


def tiled(images: NDArray[np.float32], *, columns: int, gap: float) -> NDArray[np.float32]:
    """Images ([images, height, width] or with channels last) in a grid, `gap` between them.

    The same as torchvision's `make_grid`, whose import takes seconds.
    """
    count, height, width, *channels = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    cells = np.full((rows * columns, height + 1, width + 1, *channels), gap, dtype=np.float32)
    cells[:count, 1:, 1:] = images
    grid = cells.reshape(rows, columns, height + 1, width + 1, *channels).swapaxes(1, 2)
    picture = grid.reshape(rows * (height + 1), columns * (width + 1), *channels)
    edges = ((0, 1), (0, 1), *[(0, 0)] * len(channels))
    return np.pad(picture, edges, constant_values=gap)
