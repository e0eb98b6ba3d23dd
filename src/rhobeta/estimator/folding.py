"""Training sees (x - mean) / scale; afterwards both are part of the weights.

With x' = (x - m) / s, one layer computes W x' + b = (W / s) x + (b - W m / s), and the output
s (V a + c) + m = (s V) a + (s c + m). The sums are taken in float64 and rounded once.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rhobeta.model.autoencoder import Autoencoder


@dataclass(frozen=True)
class InputScale:
    """What is subtracted from rows and what they are divided by; None for neither."""

    mean: NDArray[np.float64] | None = None
    """Shape: [features]."""
    scale: float | None = None

    def apply(self, rows: NDArray[Any]) -> NDArray[Any]:
        """(rows - mean) / scale, as float32 where anything is done (shape: [rows, features])."""
        if self.mean is None and self.scale is None:
            return rows
        centered = rows if self.mean is None else rows - self.mean
        scaled = centered if self.scale is None else centered / self.scale
        return scaled.astype(np.float32)


@torch.no_grad()
def folded(model: Autoencoder, scale: InputScale) -> Autoencoder:
    """A network that takes x where `model` takes (x - mean) / scale, and gives x_hat in its units.

    Tied weights become weights of their own where there is a scale.
    """
    if scale.mean is None and scale.scale is None:
        return model
    architecture = dataclasses.replace(
        model.architecture, tied_weights=model.architecture.tied_weights and scale.scale is None
    )
    found = Autoencoder(architecture).double().eval()
    mean, factor = scale.mean, 1.0 if scale.scale is None else scale.scale
    for new, old in zip(
        (*found.encoder, *found.decoder), (*model.encoder, *model.decoder), strict=True
    ):
        new.bias.copy_(old.bias)
        if isinstance(new, nn.Linear):
            new.weight.copy_(old.weight)
    first, last = cast(nn.Linear, found.encoder[0]), cast(nn.Linear, found.decoder[-1])
    shift = torch.zeros(architecture.features) if mean is None else torch.from_numpy(mean)
    if scale.scale is not None:
        first.weight.div_(factor)
        last.weight.mul_(factor)
    first.bias.sub_(first.weight @ shift.double())
    last.bias.mul_(factor).add_(shift)
    return found.float()
