"""The sparsity penalties, each a pure function of means, codes or weights.

The KL penalty pulls the mean activation q_j of every unit, over the batch, towards rho (A. Ng,
CS294A Lecture notes, "Sparse autoencoder", section 3):

    KL(rho || q_j) = rho log(rho / q_j) + (1 - rho) log((1 - rho) / (1 - q_j))

`log_means` computes the logarithms from the logits z of a sigmoid code over a batch of B images,

    log q_j       = logsumexp over the batch of logsigmoid( z_j) - log B
    log (1 - q_j) = logsumexp over the batch of logsigmoid(-z_j) - log B

and `bernoulli_kl` the divergence from them. This form is finite and has a gradient where |z| is 100
or more. There a sigmoid rounds to 0 or 1, and an epsilon added to its mean hides the gradient.
"""

import math
from collections import ChainMap

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rhobeta.extensions import USER_PENALTIES, Function
from rhobeta.model.fixed_order import total
from rhobeta.model.means import LogMeans

SMALLEST_MEAN = 1e-10
"""Smaller means count as this one, so that an inactive unit has a finite logarithm."""


def log_means(logits: Tensor) -> LogMeans:
    """Log q and log (1 - q), for the batch mean q of sigmoid(logits).

    `logits` has the shape [batch, units], the results [units]. Half precision is widened to
    float32, since its sums are too coarse for the penalty.

    >>> logits = torch.tensor([[0.0, 200.0], [0.0, 200.0]])
    >>> log_q, log_not_q = log_means(logits)
    >>> log_q.exp()
    tensor([0.5000, 1.0000])
    >>> log_not_q
    tensor([  -0.6931, -200.0000])
    """
    logits = widened(logits)
    log_batch = math.log(logits.shape[0])
    return LogMeans(
        torch.logsumexp(logsigmoid(logits), dim=0) - log_batch,
        torch.logsumexp(logsigmoid(-logits), dim=0) - log_batch,
    )


def bernoulli_kl(means: LogMeans, rho: float | Tensor) -> Tensor:
    """KL(rho || q_j) of each unit, in nats (shape: [units]).

    `rho` is the target mean activation, in (0, 1), as a number or a tensor.

    >>> kl = bernoulli_kl(log_means(torch.tensor([[0.0], [0.0]])), rho=0.05)  # q = 1/2
    >>> kl
    tensor([0.4946])
    """
    rho = torch.as_tensor(rho, dtype=means.log_q.dtype, device=means.log_q.device)
    return rho * (torch.log(rho) - means.log_q) + (1 - rho) * (torch.log1p(-rho) - means.log_not_q)


def poisson_kl(mean: Tensor, rho: float | Tensor) -> Tensor:
    """KL of Poisson means: rho log(rho / q_j) - rho + q_j of each unit, in nats (shape: [units]).

    The divergence of Poisson distributions with the means rho and q_j, also called the generalised
    KL or I-divergence. It is defined for every mean q_j > 0, and so for ReLU codes. The Bernoulli
    form tends to it as rho and q_j become small. Its gradient, 1 - rho / q_j, reaches a unit that
    some image of the batch activates; a dead ReLU gets no gradient from any penalty on its mean.
    Source: Lee and Seung, "Algorithms for non-negative matrix factorization", 2001,
    equation 3.

    `mean` is q (shape: [units], not negative); `rho` is above 0, as a number or a tensor.

    >>> poisson_kl(torch.tensor([0.05, 0.5]), rho=0.05)
    tensor([0.0000, 0.3349])
    """
    rho = torch.as_tensor(rho, dtype=mean.dtype, device=mean.device)
    return rho * (torch.log(rho) - torch.log(mean.clamp_min(SMALLEST_MEAN))) - rho + mean


def tutorial_kl(mean: Tensor, rho: float | Tensor) -> Tensor:
    """KL(rho || q_j) of each unit, also where q_j is not a probability (shape: [units]).

    The Bernoulli form on ReLU codes, as in many tutorials. It is NaN once q_j (`mean`) passes 1;
    training then ends with an explanation. It is here for comparison with published numbers;
    `poisson_kl` is defined for all means.
    """
    rho = torch.as_tensor(rho, dtype=mean.dtype, device=mean.device)
    active = rho * (torch.log(rho) - torch.log(mean.clamp_min(SMALLEST_MEAN)))
    return active + (1 - rho) * (torch.log1p(-rho) - torch.log1p(-mean))


def l1_code(code: Tensor) -> Tensor:
    """Sum over units of |a_j| of each image (shape: [batch, units] -> [batch]).

    Source: Olshausen and Field, "Emergence of simple-cell receptive field properties by learning a
    sparse code for natural images", 1996, with S(x) = |x|.
    """
    return code.abs().sum(1)


def l1_weights(weight: Tensor) -> Tensor:
    """Sum of |w| over one layer's weight matrix (a scalar): Keras's `kernel_regularizer=l1`.

    It makes weights sparse, not the code.
    """
    return total(weight.abs())


PENALTIES: ChainMap[str, Function] = ChainMap(
    USER_PENALTIES,
    {
        "kl": bernoulli_kl,
        "kl_poisson": poisson_kl,
        "kl_tutorial": tutorial_kl,
        "l1_code": l1_code,
        "l1_weights": l1_weights,
    },
)
"""The penalties' functions by name; those of extensions are found here as well."""


def log_means_of_activity(activity: Tensor) -> LogMeans:
    """Log q and log (1 - q), for the batch mean q of activities in [0, 1].

    For codes without logits (shape: [batch, units] -> [units]). A mean closer than `SMALLEST_MEAN`
    to 0 or 1 counts as that far from it, and has no gradient.
    """
    mean = widened(activity).mean(0)
    return LogMeans(
        torch.log(mean.clamp_min(SMALLEST_MEAN)), torch.log((1 - mean).clamp_min(SMALLEST_MEAN))
    )


def widened(values: Tensor) -> Tensor:
    """Half precision as float32; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
