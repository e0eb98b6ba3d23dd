"""The gradient of a mini-batch's loss in closed form, without autograd through the layers.

Of B images with P values each, encoder and decoder layers l = 1 ... L with activations f_l:

    h_0 = x + noise    z_l = h_{l-1} W_l^T + b_l    h_l = f_l(z_l)    x_hat = h_L

The pixel loss is the mean over B P values of (x_hat - x)^2, or of the cross-entropy, whose
derivatives by x_hat and, with a sigmoid output, by z_L are multiples s of the error x_hat - x:

    mse:  s = 2 / (B P)    d_L = (x_hat - x) f_L'(z_L)
    bce:  s = 1 / (B P)    d_L =  x_hat - x

With d_l the derivative of the loss by z_l, divided by s, the chain rule gives

    dL / dW_l = s d_l^T h_{l-1}    dL / db_l = s sum over images of d_l
    g_l = d_{l+1} W_{l+1}          d_l = g_l f_l'(z_l)

At the code a = f(z) the penalty adds (beta / s) dpenalty / dz. For the KL of a sigmoid code, with
mean activations q_j over the batch, dq_j / dz_ij = a_ij (1 - a_ij) / B, so that there

    d_ij = (g_ij + beta / (s B) * ((1 - rho) / (1 - q_j) - rho / q_j)) a_ij (1 - a_ij)

with 1 - a = sigmoid(-z), which keeps its digits where a is near 1. Where a running mean or that of
several processes stands for q, its derivative is that of this batch's mean. Other codes and
penalties have their derivatives by z from autograd on a graph of [batch, units] values, so that
one from extensions/ is one function; that graph also serves saturated units, whose q or 1 - q
underflows, from their logits.

Where there is noise, the k units of a topk code are those that x without noise chooses. A unit that
noise alone activates learns from this to stay small, until no image activates it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from rhobeta.model import products
from rhobeta.model.activations import sigmoid
from rhobeta.model.autoencoder import ACTIVATIONS, Autoencoder, TiedLinear
from rhobeta.model.auxk import added_code
from rhobeta.model.loss import SparseLoss, cross_entropies
from rhobeta.model.means import LogMeans, Means

Combine = Callable[[Means | None, float], Means | None]
"""From the means of this process's share of a mini-batch, and its weight, to the penalty's."""

_SMALLEST_MEAN = 1e-20
"""The least q and 1 - q whose digits float32 can tell; those below come from logits."""

_DERIVATIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sigmoid": lambda g, h: torch.ops.aten.sigmoid_backward(g, h, grad_input=g),
    "tanh": lambda g, h: torch.ops.aten.tanh_backward(g, h, grad_input=g),
    "relu": lambda g, h: g.mul_(h > 0),
    "identity": lambda g, h: g,
}
"""By the name of f: from g and h = f(z) to g f'(z), which takes the place of g."""


class Measured(NamedTuple):
    """What a mini-batch is measured by, in the weights' precision."""

    squared_error: Tensor
    """Sum over pixels of (x_hat - x)^2 of each image (shape: [batch])."""
    pixel_loss: Tensor
    """Sum over pixels of the pixel loss of each image (shape: [batch])."""
    penalty: Tensor | None
    """What beta multiplies (scalar); None for none."""


class _Layer(NamedTuple):
    """A layer's parameters and their gradients; the weights of a tied one are transposed views."""

    weight: Tensor
    bias: Tensor
    weight_grad: Tensor
    bias_grad: Tensor


class ClosedForm:
    """Writes the gradient of a mini-batch's loss to the `grad` of the network's parameters.

    `combine` makes the means that the penalty is a function of. `auxk` is the weight of the
    auxiliary loss of inactive units, and the number of units that it adds. `dtype` is that of the
    factors of matrix products, such as bfloat16; sums and all else are in the weights' precision,
    which is the default. The network stays on its device from here on.
    """

    def __init__(
        self,
        model: Autoencoder,
        loss: SparseLoss,
        combine: Combine,
        *,
        auxk: tuple[float, int] = (0.0, 0),
        dtype: torch.dtype | None = None,
    ) -> None:
        parameters = list(model.parameters())
        self.gradient = torch.cat([torch.zeros_like(values).flatten() for values in parameters])
        """All gradients, one after the other, in the order of the parameters."""
        parts = torch.split(self.gradient, [values.numel() for values in parameters])
        self._parameters = [
            (values, part.view_as(values)) for values, part in zip(parameters, parts, strict=True)
        ]
        self._attach()
        self._encoder, self._decoder = _layers(model.encoder), _layers(model.decoder)
        self._model = model
        self._loss = loss
        self._combine = combine
        self._auxk_coef, self._auxk_units = auxk
        self._dtype = self.gradient.dtype if dtype is None else dtype
        architecture = model.architecture
        self._hidden, self._output = architecture.hidden_activation, architecture.output_activation
        self._takes_k = architecture.k is not None
        self._is_kl = (loss.kind, architecture.code_activation) == ("kl", "sigmoid")

    @torch.no_grad()
    def __call__(
        self,
        x: Tensor,
        given: Tensor,
        *,
        k: int | None = None,
        inactive: Tensor | None = None,
        weight: float = 1.0,
    ) -> tuple[Measured, Tensor]:
        """Set the gradient to `weight` times that of the loss of images x (shape: [batch, pixels]).

        Returns what the mini-batch is measured by, and its code (shape: [batch, units]).
        The encoder is given `given`, which is x with its noise. `k` is that of a topk code, whose
        units x chooses; `inactive` marks the units that get the auxiliary loss.
        """
        # Lightning takes them away before the first step.
        self._attach()
        self.gradient.zero_()
        bce = self._loss.pixel_loss == "bce"
        s = (1 if bce else 2) / x.numel()
        inputs, z = self._forward(self._encoder, given)
        chooses = self._takes_k and given is not x
        clean = self._forward(self._encoder, x)[1] if chooses else None
        code = self._code(z, clean, k, inactive, weight)
        hidden, logits = self._forward(self._decoder, code.value)
        x_hat = ACTIVATIONS[self._output](logits)
        entropies = cross_entropies(logits, x) if bce else None
        # In place of the logits, which are in the cache.
        error = torch.sub(x_hat, x, out=logits)
        squared_error = torch.linalg.vector_norm(error, dim=1).square_()
        pixel_loss = squared_error if entropies is None else entropies
        d = error if bce else _DERIVATIVES[self._output](error, x_hat)
        g = self._backward(self._decoder, hidden, d, s * weight)
        g_added = None
        if code.added is not None:
            # Its squared error counts coef / (B P), which is coef or 2 coef times that of s.
            hidden, logits = self._forward(self._decoder, code.value + code.added)
            x_hat = ACTIVATIONS[self._output](logits)
            d = _DERIVATIVES[self._output](x_hat - x, x_hat).mul_(self._auxk_coef * (1 + bce))
            g_added = self._backward(self._decoder, hidden, d, s * weight)
        d = code.backward(g, g_added, float(self._loss.beta) / s)
        self._backward(self._encoder, inputs, d, s * weight)
        penalty = code.penalty
        if self._loss.spec.on == "weights":
            penalty = self._penalise_weights(float(self._loss.beta) * weight)
        return Measured(squared_error, pixel_loss, penalty), code.value

    def _attach(self) -> None:
        for values, gradient in self._parameters:
            values.grad = gradient

    def _factor(self, values: Tensor) -> Tensor:
        """Values as a factor of a product."""
        return values if values.dtype == self._dtype else values.to(self._dtype)

    def _forward(self, layers: Sequence[_Layer], h: Tensor) -> tuple[list[Tensor], Tensor]:
        """The input h of every layer, and z of the last."""
        inputs = [h]
        for layer in layers:
            narrow = map(self._factor, (inputs[-1], layer.weight, layer.bias))
            z = products.linear(*narrow).to(h.dtype)
            if layer is layers[-1]:
                break
            inputs.append(ACTIVATIONS[self._hidden](z))
        return inputs, z

    def _backward(
        self, layers: Sequence[_Layer], inputs: Sequence[Tensor], d: Tensor, scale: float
    ) -> Tensor:
        """Add the layers' gradients for d of the last; returns g of the first layer's input.

        The encoder's input, the images, has none: there it is d.
        """
        for layer, h in zip(reversed(layers), reversed(inputs), strict=True):
            narrow = self._factor(d)
            layer.bias_grad.add_(d.sum(0), alpha=scale)
            product = products.weight_gradient(narrow, self._factor(h))
            layer.weight_grad.add_(product, alpha=scale)
            if layer is self._encoder[0]:
                return d
            g = products.input_gradient(narrow, self._factor(layer.weight)).to(d.dtype)
            if layer is not layers[0]:
                d = _DERIVATIVES[self._hidden](g, h)
        return g

    def _code(
        self,
        z: Tensor,
        clean: Tensor | None,
        k: int | None,
        inactive: Tensor | None,
        weight: float,
    ) -> "_Code":
        """The code of pre-activations z with its penalty; see `Autoencoder.activate`."""
        if self._is_kl:
            a, rest = sigmoid(z), sigmoid(-z)
            q, p = a.mean(0), rest.mean(0)
            if torch.minimum(q, p).min().item() > _SMALLEST_MEAN:
                log_q, log_not_q = cast(LogMeans, self._combine(LogMeans(q.log(), p.log()), weight))
                penalty = self._loss.penalty(LogMeans(log_q, log_not_q), ())
                rho = self._loss.rho
                pull = (1 - rho) * torch.exp(-log_not_q) - rho * torch.exp(-log_q)
                return _KlCode(a, rest, pull / len(z), penalty)
        with torch.enable_grad():
            z.requires_grad_()
            a = self._model.activate(z, k=k, clean=clean)
            means = self._combine(self._loss.means(z, a), weight)
            penalty = None if self._loss.spec.on == "weights" else self._loss.penalty(means, ())
            added = None
            if inactive is not None:
                added = added_code(z, inactive, self._auxk_units)
        return _GraphCode(z, a, penalty, added)

    def _penalise_weights(self, factor: float) -> Tensor:
        """Add `factor` times the gradient of a penalty on weights; returns the penalty."""
        weights = self._model.weights()
        with torch.enable_grad():
            penalty = cast(Tensor, self._loss.penalty(None, weights))
        gradients = torch.autograd.grad(penalty, weights)
        for weight, gradient in zip(weights, gradients, strict=True):
            cast(Tensor, weight.grad).add_(gradient, alpha=factor)
        return penalty.detach()


class _Code(Protocol):
    """A code with its penalty, and how a gradient passes from it to z."""

    value: Tensor
    penalty: Tensor | None
    added: Tensor | None
    """What the auxiliary loss adds to the code; None without it."""

    def backward(self, g: Tensor, g_added: Tensor | None, factor: float) -> Tensor:
        """D of z, for g of the code and of the added code, and `factor` = beta / s."""


class _KlCode:
    """A sigmoid code a, 1 - a, and the derivative of the KL by each unit's sum over images."""

    added: Tensor | None = None

    def __init__(self, a: Tensor, rest: Tensor, pull: Tensor, penalty: Tensor | None) -> None:
        self.value, self._rest, self._pull = a, rest, pull
        self.penalty = penalty

    def backward(self, g: Tensor, g_added: Tensor | None, factor: float) -> Tensor:
        return g.add_(self._pull, alpha=factor).mul_(self.value).mul_(self._rest)


class _GraphCode:
    """A code, penalty and added code on autograd's graph from z."""

    def __init__(
        self, z: Tensor, code: Tensor, penalty: Tensor | None, added: Tensor | None
    ) -> None:
        self._z = z
        self._outputs = code, penalty, added
        self.value = code.detach()
        self.penalty = None if penalty is None else penalty.detach()
        self.added = None if added is None else added.detach()

    def backward(self, g: Tensor, g_added: Tensor | None, factor: float) -> Tensor:
        code, penalty, added = self._outputs
        pairs = [(code, g)]
        if penalty is not None:
            pairs.append((penalty, penalty.new_tensor(factor)))
        if added is not None and g_added is not None:
            pairs.append((added, g_added))
        outputs, gradients = zip(*pairs, strict=True)
        (d,) = torch.autograd.grad(outputs, self._z, gradients)
        return d


def _layers(modules: Iterable[nn.Module]) -> list[_Layer]:
    found = []
    for module in modules:
        bias = cast(Tensor, module.bias)
        if isinstance(module, TiedLinear):
            weight, grad = module.weight, cast(Tensor, module.source.weight.grad).T
        else:
            weight = cast(Tensor, module.weight)
            grad = cast(Tensor, weight.grad)
        found.append(_Layer(weight.detach(), bias.detach(), grad, cast(Tensor, bias.grad)))
    return found
