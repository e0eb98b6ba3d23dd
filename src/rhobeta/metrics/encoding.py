"""A split through a model, in pieces, on the CPU."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from rhobeta.model.autoencoder import Autoencoder

_PIECE = 4096


class Encoded(NamedTuple):
    """What a model makes of a split."""

    code: NDArray[np.float32]
    """a (shape: [images, units])."""
    activity: NDArray[np.float32]
    """How far each unit is from rest (shape: [images, units])."""
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
    """Only the codes ([images, units]) of images ([images, pixels] in [0, 1]).

    `k` is how many units of a topk code are active, as many as in training where it is None.
    """
    with torch.inference_mode():
        pieces = torch.split(torch.from_numpy(pixels), _PIECE)
        return torch.cat([model.encode(piece, k=k) for piece in pieces]).numpy()
