"""Sums and functions with the same bits for any number of threads.

torch shares an operation among threads from 32,768 elements on. A sum over all elements then has
another order, and an element at the end of a thread's share may be computed without vector
instructions, with another rounding. Smaller pieces stay in one thread.
"""

from collections.abc import Callable

import torch
from torch import Tensor

PIECE = 32_768
"""Elements that torch leaves to one thread."""

_SHARED = 26_880
"""32 * 840 elements: shares of a multiple of it, for a number of threads that divides 840, are
whole numbers of vectors (torch's loops take two at a time, of up to 16 float32)."""


def total(values: Tensor) -> Tensor:
    """Sum of all elements (any shape -> scalar), in an order that is the values' alone.

    >>> total(torch.ones(3, 4))
    tensor(12.)
    """
    while values.numel() > PIECE:
        values = torch.stack([piece.sum() for piece in torch.split(values.flatten(), PIECE)])
    return values.sum()


def in_pieces(function: Callable[..., Tensor], values: Tensor) -> Tensor:
    """An elementwise function of values (any shape), with a rounding that is the values' alone.

    `function` is one of torch's, which takes an `out`.

    >>> in_pieces(torch.sigmoid, torch.zeros(2))
    tensor([0.5000, 0.5000])
    """
    # An exported model has no pieces: their number would fix that of its images.
    if torch.compiler.is_compiling() or values.device.type != "cpu" or values.numel() <= PIECE:
        return function(values)
    flat = values.reshape(-1)
    even = len(flat) - len(flat) % _SHARED
    threads = min(torch.get_num_threads(), -(-even // PIECE))
    pieces = [even, len(flat) - even] if 840 % threads == 0 else PIECE
    parts = torch.split(flat, pieces)
    if torch.is_grad_enabled() and values.requires_grad:
        return torch.cat([function(part) for part in parts]).reshape(values.shape)
    found = torch.empty_like(flat)
    for part, place in zip(parts, torch.split(found, pieces), strict=True):
        function(part, out=place)
    return found.view(values.shape)
