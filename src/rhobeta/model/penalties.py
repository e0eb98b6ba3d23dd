"""The Bernoulli KL penalty, from logits.

    KL(rho || q_j) = rho log(rho / q_j) + (1 - rho) log((1 - rho) / (1 - q_j))

with q_j the mean over the batch of unit j's activation, sigmoid(z_j). Source: A. Ng, CS294A
Lecture notes, "Sparse autoencoder", section 3. There q_j is computed and its logarithm taken;
here the logarithms are had directly,

    log q_j       = logsumexp over the batch of logsigmoid( z_j) - log B
    log (1 - q_j) = logsumexp over the batch of logsigmoid(-z_j) - log B

which stays finite, with a gradient that does not vanish, for codes that are all but silent or
saturated (|z| of 100 and more), where a sigmoid rounds to 0 or 1 and an added epsilon hides it.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


class LogMeans(NamedTuple):
    """Logarithms of the mean activation of each unit and of its complement."""

    log_q: Tensor
    """log q_j (shape: [units])."""
    log_not_q: Tensor
    """log (1 - q_j) (shape: [units])."""


def log_means(logits: Tensor) -> LogMeans:
    """Logarithms of the batch mean of sigmoid(logits) and of its complement.

    `logits` has the shape [batch, units]; half precision is widened to float32, since there the
    sums would lose what the penalty measures.
    """
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    log_batch = math.log(logits.shape[0])
    return LogMeans(
        torch.logsumexp(logsigmoid(logits), dim=0) - log_batch,
        torch.logsumexp(logsigmoid(-logits), dim=0) - log_batch,
    )


def bernoulli_kl(means: LogMeans, rho: float | Tensor) -> Tensor:
    """KL(rho || q_j) of each unit, in nats (shape: [units]).

    `rho` is the target mean activation, in (0, 1), as a number or a tensor.
    """
    rho = torch.as_tensor(rho, dtype=means.log_q.dtype, device=means.log_q.device)
    return rho * (torch.log(rho) - means.log_q) + (1 - rho) * (torch.log1p(-rho) - means.log_not_q)


def code_logits(pre_activation: Tensor, code_activation: str) -> Tensor:
    """Logits whose sigmoid is the code's activity in (0, 1): z for sigmoid, 2 z for tanh.

    For a tanh code the activity is (1 + tanh z) / 2 = sigmoid(2 z). Raises `ValueError` for codes
    that are not bounded, whose mean is no probability.
    """
    if code_activation == "sigmoid":
        return pre_activation
    if code_activation == "tanh":
        return 2 * pre_activation
    raise ValueError(f"the Bernoulli KL is not defined on a {code_activation} code")
