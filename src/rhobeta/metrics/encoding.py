"""Codes and reconstructions of a split, computed in pieces on the CPU."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rhobeta.model.autoencoder import Autoencoder

_PIECE = 4096


class Encoded(NamedTuple):
    """Codes, activities and reconstructions of a split."""

    code: NDArray[np.float32]
    """a (shape: [images, units])."""
    activity: NDArray[np.float32]
    """Activity >= 0 of each unit (shape: [images, units])."""
    reconstruction: NDArray[np.float32]
    """x_hat (shape: [images, pixels])."""


def encode_images(model: Autoencoder, pixels: NDArray[np.float32]) -> Encoded:
    """Codes, activities and reconstructions of images ([images, pixels] in [0, 1])."""
    codes, activities, reconstructions = [], [], []
    with torch.inference_mode():
        for piece in torch.split(torch.from_numpy(pixels), _PIECE):
            output = model(piece)
            codes.append(output.code)
            activities.append(model.activity(output.code))
            reconstructions.append(output.reconstruction)
    return Encoded(*(torch.cat(parts).numpy() for parts in (codes, activities, reconstructions)))


def codes_of(
    model: Autoencoder, pixels: NDArray[np.float32], *, k: int | None = None
) -> NDArray[np.float32]:
    """Codes ([images, units]) of images ([images, pixels] in [0, 1]).

    `k` is the number of active units of a topk code; None: as in training.
    """
    with torch.inference_mode():
        pieces = torch.split(torch.from_numpy(pixels), _PIECE)
        return torch.cat([model.encode(piece, k=k) for piece in pieces]).numpy()
