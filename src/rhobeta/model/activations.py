"""Code activations: z -> a, elementwise but for topk (shapes: [batch, units])."""

from collections import ChainMap

import torch
from torch import Tensor

from rhobeta.extensions import USER_ACTIVATIONS, USER_LOGITS, Function
from rhobeta.model.fixed_order import in_pieces


def sigmoid(z: Tensor) -> Tensor:
    """The logistic function, a = 1 / (1 + exp(-z)), in (0, 1)."""
    return in_pieces(torch.sigmoid, z)


def sigmoid_logits(z: Tensor) -> Tensor:
    """The logits of a sigmoid code's activity, which is a = sigmoid(z): z itself."""
    return z


def tanh(z: Tensor) -> Tensor:
    """The hyperbolic tangent, a = tanh z, in (-1, 1); -1 where a unit is inactive."""
    return torch.tanh(z)


def tanh_logits(z: Tensor) -> Tensor:
    """The logits of a tanh code's activity: (1 + tanh z) / 2 = sigmoid(2 z)."""
    return 2 * z


def relu(z: Tensor) -> Tensor:
    """The rectifier, a = max(z, 0)."""
    return torch.relu(z)


def identity(z: Tensor) -> Tensor:
    """No activation, a = z."""
    return z


def topk(z: Tensor, k: int) -> Tensor:
    """The k largest values of each row of max(z, 0), others 0 (shape: [batch, units]).

    Only the k units get a gradient. Sources: Makhzani and Frey, "k-Sparse
    Autoencoders", 2014, section 2.1; with the ReLU as in Gao et al., "Scaling and evaluating
    sparse autoencoders", 2024, section 2.3.
    """
    if k >= z.shape[-1]:
        return torch.relu(z)
    values, places = torch.topk(z, k, dim=-1, sorted=False)
    return torch.zeros_like(z).scatter(-1, places, torch.relu(values))


CODE_ACTIVATIONS: ChainMap[str, Function] = ChainMap(
    USER_ACTIVATIONS,
    {"sigmoid": sigmoid, "tanh": tanh, "relu": relu, "topk": topk, "identity": identity},
)
"""The functions z -> a by name; those of extensions are found here as well."""

ACTIVITY_LOGITS: ChainMap[str, Function] = ChainMap(
    USER_LOGITS, {"sigmoid": sigmoid_logits, "tanh": tanh_logits}
)
"""For codes in an interval: z -> logits whose sigmoid is the activity, where they exist."""
