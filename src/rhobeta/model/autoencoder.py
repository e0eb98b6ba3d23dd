"""The autoencoder x -> z -> a -> x_hat, with an encoder and a decoder of any depth."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from rhobeta.data.samples import is_sample_shape
from rhobeta.errors import RhobetaError
from rhobeta.extensions import ACTIVATION_SPECS
from rhobeta.model import activations
from rhobeta.model.products import linear

# Of hidden layers and the output.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": activations.sigmoid,
    "tanh": activations.tanh,
    "relu": activations.relu,
    "identity": activations.identity,
}

_LARGEST_SIZE = 1 << 31


@dataclass(frozen=True)
class Architecture:
    """All that is needed to build the network.

    `sample_shape` is (height, width) of grey images, (height, width, 3) of colour images, or
    (features,) of vectors; an input has their product of features. `hidden_sizes` are the units of
    each encoder layer, the last being the code; the decoder mirrors them. With
    `tied_weights` each decoder layer has the transposed weights of the encoder layer that it
    mirrors. `k` is the number of active units of a topk code, None for other codes.

    Raises `RhobetaError` for sizes, activations or k that do not make a network.

    >>> architecture = Architecture((28, 28), (64,), "sigmoid", "relu", "sigmoid")
    >>> architecture.layer_sizes
    (784, 64)
    """

    sample_shape: tuple[int, ...]
    hidden_sizes: tuple[int, ...]
    code_activation: str
    hidden_activation: str
    output_activation: str
    tied_weights: bool = False
    k: int | None = None

    def __post_init__(self) -> None:
        sizes = (*self.sample_shape, *self.hidden_sizes)
        if (
            not self.hidden_sizes
            or not is_sample_shape(self.sample_shape)
            or any(type(size) is not int or not 1 <= size <= _LARGEST_SIZE for size in sizes)
        ):
            raise RhobetaError(
                f"An autoencoder of sample shape {self.sample_shape} and layers {self.hidden_sizes}"
                " cannot be built; expected at least one layer, and whole numbers"
                f" from 1 to {_LARGEST_SIZE}."
            )
        named = ((self.code_activation, ACTIVATION_SPECS), (self.hidden_activation, ACTIVATIONS))
        for name, known in (*named, (self.output_activation, ACTIVATIONS)):
            if name not in known:
                raise RhobetaError(
                    f"Unknown activation {name!r}; known: {', '.join(known)}. A code activation of"
                    " your own is registered by its file in extensions/."
                )
        takes_k = ACTIVATION_SPECS[self.code_activation].takes_k
        if takes_k != (type(self.k) is int) or (self.k is not None and self.k < 1):
            allowed = "a whole number from 1" if takes_k else "none"
            raise RhobetaError(
                f"A {self.code_activation} code with k {self.k} cannot be built;"
                f" expected {allowed}."
            )

    @property
    def features(self) -> int:
        """Inputs and outputs of the network: the numbers of one sample."""
        return math.prod(self.sample_shape)

    @property
    def is_image(self) -> bool:
        """Whether a sample is an image, grey or in colour; else it is a vector."""
        return len(self.sample_shape) > 1

    @property
    def units(self) -> int:
        """Units of the code."""
        return self.hidden_sizes[-1]

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Sizes from the input to the code."""
        return (self.features, *self.hidden_sizes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Architecture":
        """Rebuild from `dataclasses.asdict`, also after JSON has made tuples lists."""
        return cls(
            # Files that were written before there were vectors name it so.
            sample_shape=tuple(values.get("image_shape") or values["sample_shape"]),
            hidden_sizes=tuple(values["hidden_sizes"]),
            code_activation=str(values["code_activation"]),
            hidden_activation=str(values["hidden_activation"]),
            output_activation=str(values["output_activation"]),
            tied_weights=bool(values["tied_weights"]),
            k=values["k"],
        )


class Output(NamedTuple):
    """The results of a forward pass."""

    pre_activation: Tensor
    """z, before the code's activation (shape: [batch, units])."""
    code: Tensor
    """a, the code (shape: [batch, units])."""
    output_pre_activation: Tensor
    """Output of the decoder before its activation (shape: [batch, pixels])."""
    reconstruction: Tensor
    """x_hat (shape: [batch, pixels])."""


class Autoencoder(nn.Module):
    """a = f(z), z = encoder(x); x_hat = g(decoder(a)).

    For one layer: z = W x + b and x_hat = g(V a + c), with V = W^T for tied weights. Weights start
    Glorot-uniform, drawn from a generator with the seed `seed`; biases start at zero. Training
    starts a topk code with `center_on`.

    Where a method takes `k`, it is the number of active units of a topk code; None is that of the
    architecture. Other codes ignore it.

    >>> model = Autoencoder(Architecture((28, 28), (64,), "sigmoid", "relu", "sigmoid"), seed=0)
    >>> x = torch.zeros(5, 784)
    >>> model.encode(x).shape, model(x).reconstruction.shape
    (torch.Size([5, 64]), torch.Size([5, 784]))
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0) -> None:
        super().__init__()
        self.architecture = architecture
        sizes = architecture.layer_sizes
        self.encoder = _linear_layers(sizes)
        if architecture.tied_weights:
            mirrored = [TiedLinear(cast(nn.Linear, layer)) for layer in reversed(self.encoder)]
            self.decoder = nn.ModuleList(mirrored)
        else:
            self.decoder = _linear_layers(sizes[::-1])
        generator = torch.Generator().manual_seed(seed)
        for layer in (*self.encoder, *self.decoder):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)
        self._spec = ACTIVATION_SPECS[architecture.code_activation]
        self._code_activation = activations.CODE_ACTIVATIONS[architecture.code_activation]
        self._hidden_activation = ACTIVATIONS[architecture.hidden_activation]
        self._output_activation = ACTIVATIONS[architecture.output_activation]

    def pre_activation(self, x: Tensor) -> Tensor:
        """Z of images x (shape: [batch, pixels], in [0, 1] -> [batch, units])."""
        return self._through(self.encoder, x)

    def activate(self, z: Tensor, *, k: int | None = None, clean: Tensor | None = None) -> Tensor:
        """The code a of pre-activations z (shape: [batch, units]).

        A topk code has the k units that are the largest of z, or of `clean` where that is given:
        the pre-activations of the same images without noise.
        """
        if self._spec.takes_k:
            k = k or self.architecture.k
            if clean is not None:
                z = z.masked_fill(self._code_activation(clean, k) == 0, 0)
            code: Tensor = self._code_activation(z, k)
        else:
            code = self._code_activation(z)
        return code

    def encode(self, x: Tensor, *, k: int | None = None) -> Tensor:
        """The code a of images x (shape: [batch, pixels] -> [batch, units])."""
        return self.activate(self.pre_activation(x), k=k)

    def decode(self, code: Tensor) -> Tensor:
        """The reconstruction x_hat of a code a (shape: [batch, units] -> [batch, pixels])."""
        return self._output_activation(self.decoded(code))

    def decoded(self, code: Tensor) -> Tensor:
        """The decoder's output before its activation (shape: [batch, units] -> [batch, pixels])."""
        return self._through(self.decoder, code)

    def forward(self, x: Tensor, *, k: int | None = None, clean: Tensor | None = None) -> Output:
        """Encode and decode images x (shape: [batch, pixels], in [0, 1]).

        `clean` are the images without noise where x has some; see `activate`.
        """
        z = self.pre_activation(x)
        code = self.activate(z, k=k, clean=None if clean is None else self.pre_activation(clean))
        decoded = self.decoded(code)
        return Output(z, code, decoded, self._output_activation(decoded))

    def activity(self, code: Tensor) -> Tensor:
        """The activity of each unit, 0 where it is inactive (shape: that of `code`).

        a for codes that are never negative; (a - low) / (high - low) for bounded codes, which is
        (1 + a) / 2 for tanh; |a| for others.
        """
        low, high = self._spec.low, self._spec.high
        if self._spec.bounded:
            return code if (low, high) == (0, 1) else (code - low) / (high - low)
        return code if low >= 0 else code.abs()

    def weights(self) -> list[Tensor]:
        """The weight matrix of every layer; tied ones once."""
        return [values for values in self.parameters() if values.ndim > 1]

    @torch.no_grad()
    def normalize_decoder(self) -> None:
        """Scale each unit's column of the first decoder layer to length 1.

        Then a large decoder cannot compensate for a small code. Source: Bricken et al., "Towards
        monosemanticity", 2023, appendix on training.
        """
        first = self.decoder[0]
        if isinstance(first, TiedLinear):
            rows = cast(nn.Linear, self.encoder[-1]).weight
            rows.div_(rows.norm(dim=1, keepdim=True).clamp_min(_SMALLEST_NORM))
        else:
            columns = cast(nn.Linear, first).weight
            columns.div_(columns.norm(dim=0, keepdim=True).clamp_min(_SMALLEST_NORM))

    @torch.no_grad()
    def lift_biases(self, units: Tensor, lift: float) -> None:
        """Add `lift` to the biases of the code's marked `units` (shape: [units], bool).

        A dead unit has no gradient that could make it active. Raised step by step, it becomes
        active for the images that excite it most, and learns from these.
        """
        bias = cast(Tensor, self.encoder[-1].bias)
        bias.add_(units.to(bias), alpha=lift)

    @torch.no_grad()
    def center_on(self, mean_image: Tensor) -> None:
        """Initialise a network of one hidden layer so that all units are equally likely active.

        Each row of the encoder is scaled to length 1 and the decoder starts as the transpose. The
        biases b = -W mean make the pre-activations of the mean image zero; with an identity output
        the decoder's bias starts at the mean image. Without this, the mean image decides which
        units are large: under TopK, units that start below the top k never receive a gradient.
        Source: Gao et al., "Scaling and evaluating sparse autoencoders", 2024, section 2.1 and
        appendix A. Deeper networks stay as they are. `mean_image` is in [0, 1] (shape: [pixels]).
        """
        if len(self.encoder) > 1:
            return
        encoder, decoder = cast(nn.Linear, self.encoder[0]), self.decoder[0]
        mean = mean_image.to(encoder.weight)
        encoder.weight.div_(encoder.weight.norm(dim=1, keepdim=True).clamp_min(_SMALLEST_NORM))
        encoder.bias.copy_(-encoder.weight @ mean)
        if isinstance(decoder, nn.Linear):
            decoder.weight.copy_(encoder.weight.T)
        if self.architecture.output_activation == "identity":
            cast(nn.Linear, decoder).bias.copy_(mean)

    def _through(self, layers: nn.ModuleList, values: Tensor) -> Tensor:
        for index, layer in enumerate(layers):
            if index > 0:
                values = self._hidden_activation(values)
            values = linear(values, cast(Tensor, layer.weight), cast(Tensor, layer.bias))
        return values


_SMALLEST_NORM = 1e-12


class TiedLinear(nn.Module):
    """y = W^T x + c, with the weights W of an encoder layer; only c is a parameter of its own."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(layer.in_features))
        # The tuple keeps nn.Module from registering the layer's weights a second time.
        self._tied_to = (layer,)

    @property
    def source(self) -> nn.Linear:
        """The layer whose weights are W."""
        return self._tied_to[0]

    @property
    def weight(self) -> Tensor:
        """W^T (shape: [outputs, inputs])."""
        return self.source.weight.T


def _linear_layers(sizes: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(sizes))
