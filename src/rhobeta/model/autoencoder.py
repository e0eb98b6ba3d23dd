"""The autoencoder: x -> z -> a -> x_hat, with encoder and decoder of any depth."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rhobeta.errors import RhobetaError


def _identity(values: Tensor) -> Tensor:
    return values


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": _identity,
}

# What sparsity means for a code: how far a unit is from rest, 0 being silent. A tanh rests at -1.
_ACTIVITY: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": _identity,
    "tanh": lambda code: (1 + code) / 2,
    "relu": _identity,
    "identity": torch.abs,
}


_LARGEST_SIZE = 1 << 31


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build the network.

    `hidden_sizes` are the units of each encoder layer, the last being the code; the decoder
    mirrors them. `image_shape` is (height, width); an input has height * width pixels.
    """

    image_shape: tuple[int, int]
    hidden_sizes: tuple[int, ...]
    code_activation: str
    hidden_activation: str
    output_activation: str

    def __post_init__(self) -> None:
        sizes = (*self.image_shape, *self.hidden_sizes)
        if (
            not self.hidden_sizes
            or len(self.image_shape) != 2
            or any(type(size) is not int or not 1 <= size <= _LARGEST_SIZE for size in sizes)
        ):
            raise RhobetaError(
                f"An autoencoder of image shape {self.image_shape} and layers {self.hidden_sizes}"
                " cannot be built; expected at least one layer, and whole numbers"
                f" from 1 to {_LARGEST_SIZE}."
            )
        for name in (self.code_activation, self.hidden_activation, self.output_activation):
            if name not in ACTIVATIONS:
                raise RhobetaError(f"Unknown activation {name!r}; known: {', '.join(ACTIVATIONS)}.")

    @property
    def pixels(self) -> int:
        """Inputs and outputs of the network."""
        return self.image_shape[0] * self.image_shape[1]

    @property
    def units(self) -> int:
        """Units of the code."""
        return self.hidden_sizes[-1]

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Sizes from the input to the code."""
        return (self.pixels, *self.hidden_sizes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Architecture":
        """Rebuild from `dataclasses.asdict`, also after JSON has made tuples lists."""
        return cls(
            image_shape=tuple(values["image_shape"]),
            hidden_sizes=tuple(values["hidden_sizes"]),
            code_activation=str(values["code_activation"]),
            hidden_activation=str(values["hidden_activation"]),
            output_activation=str(values["output_activation"]),
        )


class Output(NamedTuple):
    """What a forward pass gives."""

    pre_activation: Tensor
    """z, before the code's activation (shape: [batch, units])."""
    code: Tensor
    """a, the code (shape: [batch, units])."""
    reconstruction: Tensor
    """x_hat (shape: [batch, pixels])."""


class Autoencoder(nn.Module):
    """a = f(z), z = encoder(x); x_hat = g(decoder(a)).

    For one layer: z = W x + b, x_hat = g(V a + c). Weights start Glorot-uniform, biases at zero,
    drawn from a generator seeded by `seed` alone.
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0) -> None:
        super().__init__()
        self.architecture = architecture
        sizes = architecture.layer_sizes
        self.encoder = _linear_layers(sizes)
        self.decoder = _linear_layers(sizes[::-1])
        generator = torch.Generator().manual_seed(seed)
        for layer in (*self.encoder, *self.decoder):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)
        self._code_activation = ACTIVATIONS[architecture.code_activation]
        self._hidden_activation = ACTIVATIONS[architecture.hidden_activation]
        self._output_activation = ACTIVATIONS[architecture.output_activation]
        self._activity = _ACTIVITY[architecture.code_activation]

    def pre_activation(self, x: Tensor) -> Tensor:
        """Z of images x (shape: [batch, pixels], in [0, 1] -> [batch, units])."""
        return self._through(self.encoder, x)

    def encode(self, x: Tensor) -> Tensor:
        """The code a of images x (shape: [batch, pixels] -> [batch, units])."""
        return self._code_activation(self.pre_activation(x))

    def decode(self, code: Tensor) -> Tensor:
        """The reconstruction x_hat of a code a (shape: [batch, units] -> [batch, pixels])."""
        return self._output_activation(self._through(self.decoder, code))

    def forward(self, x: Tensor) -> Output:
        """Encode and decode images x (shape: [batch, pixels], in [0, 1])."""
        z = self.pre_activation(x)
        code = self._code_activation(z)
        return Output(z, code, self.decode(code))

    def activity(self, code: Tensor) -> Tensor:
        """How far each unit is from rest: a; (1 + a) / 2 for a tanh, |a| for an identity code."""
        return self._activity(code)

    def _through(self, layers: nn.ModuleList, values: Tensor) -> Tensor:
        values = layers[0](values)
        for layer in layers[1:]:
            values = layer(self._hidden_activation(values))
        return values


def _linear_layers(sizes: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes))
