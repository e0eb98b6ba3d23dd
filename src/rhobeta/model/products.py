"""The matrix products of layers, forward and backward, by a library whose order of sums is fixed.

    linear(x, w, b)       x w^T + b   (shapes: [n, i], [o, i], [o] -> [n, o])
    input_gradient(d, w)  d w         (shapes: [n, o], [o, i] -> [n, i])
    weight_gradient(d, x) d^T x       (shapes: [n, o], [n, i] -> [o, i])

On a CPU, float32 products are oneDNN's. Held to AVX2 (see `rhobeta.utils.cpu`) it gives the same
bits on processors of Intel and AMD, and always for any number of threads; torch's own products are
MKL's, which do neither. torch has no public function that leads there: `linear` takes oneDNN only
for half precision. The private one is called in this module alone; a test notices a change of it.
Other types and devices have torch's products, as have an exported model and a forward pass that
autograd records.
"""

import torch
from torch import Tensor
from torch.nn import functional

_ONEDNN: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def linear(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """The output x w^T + b of a layer of weights w and biases b."""
    return _product(x, w, b) if _by_onednn(x, w) else functional.linear(x, w, b)


def input_gradient(d: Tensor, w: Tensor) -> Tensor:
    """The gradient d w of a layer's input, for the gradient d of its output."""
    return _product(d, w.T) if _by_onednn(d, w) else torch.mm(d, w)


def weight_gradient(d: Tensor, x: Tensor) -> Tensor:
    """The gradient d^T x of a layer's weights, for the gradient d of its output."""
    if not _by_onednn(d, x):
        return torch.mm(d.T, x)
    # oneDNN copies its first argument where that is transposed: the narrower one.
    if d.shape[1] > x.shape[1]:
        return _product(x.T, d.T).T
    return _product(d.T, x.T)


def _by_onednn(x: Tensor, w: Tensor) -> bool:
    return (
        _ONEDNN
        and x.device.type == "cpu"
        and x.dtype == w.dtype == torch.float32
        and x.ndim == 2
        and x.numel() > 0
        and not (torch.is_grad_enabled() and (x.requires_grad or w.requires_grad))
        and not torch.compiler.is_compiling()
    )


def _product(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(x, w, b, "none", [], "")
    return found
