"""Figures that show images: reconstructions and decoder filters."""

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from torch import nn

from rhobeta.model.autoencoder import Autoencoder
from rhobeta.plots.style import DIVERGING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_reconstructions(
    examples: NDArray[np.float32], reconstructions: NDArray[np.float32]
) -> "Figure":
    """Originals over their reconstructions (both: [images, height, width] in [0, 1])."""
    count = len(examples)
    figure, axes = plt.subplots(2, 1, figsize=(max(4.0, count), 2.5))
    for axis, images, title in zip(
        axes, (examples, reconstructions), ("Original", "Reconstructed"), strict=True
    ):
        axis.imshow(tiled(images, columns=count, gap=1.0), cmap="gray_r", vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_axis_off()
    return figure


def draw_filters(filters: NDArray[np.float32], order: NDArray[np.intp]) -> "Figure":
    """Decoder filters ([units, height, width]) in `order`, each on a scale of its own."""
    chosen = filters[order]
    largest = np.abs(chosen).reshape(len(chosen), -1).max(1)
    scaled = (chosen / np.where(largest > 0, largest, 1)[:, None, None]).astype(np.float32)
    columns = int(np.ceil(np.sqrt(len(chosen) * 1.6)))
    rows = -(-len(chosen) // columns)
    figure, axis = plt.subplots(figsize=(0.62 * columns + 0.9, 0.62 * rows + 0.5))
    image = axis.imshow(tiled(scaled, columns=columns, gap=np.nan), cmap=DIVERGING, vmin=-1, vmax=1)
    axis.set_title("Decoder filters, most active unit first")
    axis.set_axis_off()
    bar = figure.colorbar(image, ax=axis, shrink=0.6, ticks=[-1, 0, 1], pad=0.01)
    bar.ax.set_yticklabels(["removes ink", "0", "adds ink"])
    bar.outline.set_visible(False)
    return figure


def decoder_filters(model: Autoencoder) -> NDArray[np.float32]:
    """What each unit adds to the picture (shape: [units, height, width]).

    With one decoder layer this is the unit's column of its weights; with more, the change of the
    reconstruction when the unit alone goes from 0 to 1.
    """
    units, shape = model.architecture.units, model.architecture.image_shape
    with torch.inference_mode():
        if len(model.decoder) == 1:
            columns = cast(nn.Linear, model.decoder[0]).weight.T
        else:
            columns = model.decode(torch.eye(units)) - model.decode(torch.zeros(1, units))
    filters: NDArray[np.float32] = columns.detach().reshape(units, *shape).numpy()
    return filters


def tiled(images: NDArray[np.float32], *, columns: int, gap: float) -> NDArray[np.float32]:
    """Images ([images, height, width]) side by side, with lines of the value `gap` between."""
    from torchvision.utils import make_grid

    stack = torch.from_numpy(np.ascontiguousarray(images))[:, None]
    # make_grid repeats a grey image into three equal channels; one is the picture.
    grid: NDArray[np.float32] = make_grid(stack, nrow=columns, padding=1, pad_value=gap)[0].numpy()
    return grid
