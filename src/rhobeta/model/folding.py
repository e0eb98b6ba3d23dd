"""Training sees (x - mean) / scale; afterwards both are part of the weights.

With x' = (x - m) / s, one layer computes W x' + b = (W / s) x + (b - W m / s), and the output
s (V a + c) + m = (s V) a + (s c + m). The sums are taken in float64 and rounded once.
"""

import dataclasses
from typing import cast

import torch
from torch import nn

from rhobeta.data.scaling import InputScale
from rhobeta.model.autoencoder import Autoencoder


@torch.no_grad()
def folded(model: Autoencoder, scale: InputScale) -> Autoencoder:
    """A network that takes x where `model` takes (x - mean) / scale, and gives x_hat in its units.

    Tied weights become weights of their own where there is a scale.
    """
    if scale.changes_nothing:
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
