"""What the most active units alone reconstruct: models of any code at one and the same L0."""

import torch
from torch import Tensor

from rhobeta.model.activations import topk
from rhobeta.model.autoencoder import Autoencoder

_PIECE = 2048


def truncated_mse(model: Autoencoder, x: Tensor, kept: int) -> float:
    """Mean squared error where only the `kept` most active units of each image speak.

    mean over images and pixels of (x - decode(a'))^2, a' being the code a with all units but the
    `kept` of largest activity at rest (activity 0). A code of at most that many active units loses
    nothing. For codes that are never negative; `x` are images ([images, pixels] in [0, 1]).
    Raises `ValueError` for other codes, whose rest is not 0.
    """
    error, units = 0.0, model.architecture.units
    with torch.inference_mode():
        for piece in torch.split(x, _PIECE):
            code = model.encode(piece)
            if (code < 0).any():
                raise ValueError("a code with negative values does not rest at 0")
            rebuilt = model.decode(topk(code, min(kept, units)))
            error += (piece.double() - rebuilt).square().sum().item()
    return error / x.numel()
