"""The sparsity penalties, each a pure function of means, codes or weights.

Those on a mean pull the mean activation q_j of every unit, over the batch, towards rho. Source of
the first: A. Ng, CS294A Lecture notes, "Sparse autoencoder", section 3,

    KL(rho || q_j) = rho log(rho / q_j) + (1 - rho) log((1 - rho) / (1 - q_j))

There q_j is computed and its logarithm taken; here, for codes with logits z (a = sigmoid(z)), the
logarithms are had directly,

    log q_j       = logsumexp over the batch of logsigmoid( z_j) - log B
    log (1 - q_j) = logsumexp over the batch of logsigmoid(-z_j) - log B

which stays finite, with a gradient that does not vanish, for codes that are all but silent or
saturated (|z| of 100 and more), where a sigmoid rounds to 0 or 1 and an added epsilon hides it.
"""

import math
from collections import ChainMap

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from rhobeta.extensions import ACTIVATION_SPECS, USER_PENALTIES, Function
from rhobeta.model.activations import ACTIVITY_LOGITS
from rhobeta.model.means import LogMeans

SMALLEST_MEAN = 1e-10
"""Below this a mean counts as this: the logarithm of a unit that is silent for a whole batch."""


def log_means(logits: Tensor) -> LogMeans:
    """Logarithms of the batch mean of sigmoid(logits) and of its complement.

    `logits` has the shape [batch, units]; half precision is widened to float32, since there the
    sums would lose what the penalty measures.
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
    """
    rho = torch.as_tensor(rho, dtype=means.log_q.dtype, device=means.log_q.device)
    return rho * (torch.log(rho) - means.log_q) + (1 - rho) * (torch.log1p(-rho) - means.log_not_q)


def poisson_kl(mean: Tensor, rho: float | Tensor) -> Tensor:
    """KL of Poisson means: rho log(rho / q_j) - rho + q_j of each unit, in nats (shape: [units]).

    The divergence of Poisson distributions with the means rho and q_j (also called the generalised
    KL, or I-divergence). It is defined for every mean q_j > 0, so for ReLU codes, and is what the
    Bernoulli form tends to as rho and q_j become small. Its gradient, 1 - rho / q_j, reaches a
    unit as long as some image of the batch excites it; a dead ReLU gets none from any penalty on
    its mean. Source: Lee and Seung, "Algorithms for non-negative matrix factorization", 2001,
    equation 3.

    `mean` is q (shape: [units], not negative); `rho` is above 0, as a number or a tensor.
    """
    rho = torch.as_tensor(rho, dtype=mean.dtype, device=mean.device)
    return rho * (torch.log(rho) - torch.log(mean.clamp_min(SMALLEST_MEAN))) - rho + mean


def tutorial_kl(mean: Tensor, rho: float | Tensor) -> Tensor:
    """KL(rho || q_j) of each unit where q_j may be no probability (shape: [units]).

    The Bernoulli form as tutorials put it on ReLU codes, where q_j (`mean`) is no probability: it
    is NaN once q_j passes 1, and training then ends with an explanation. For comparison with
    published numbers; `poisson_kl` is defined where this is not.
    """
    rho = torch.as_tensor(rho, dtype=mean.dtype, device=mean.device)
    silent = rho * (torch.log(rho) - torch.log(mean.clamp_min(SMALLEST_MEAN)))
    return silent + (1 - rho) * (torch.log1p(-rho) - torch.log1p(-mean))


def l1_code(code: Tensor) -> Tensor:
    """Sum over units of |a_j| of each image (shape: [batch, units] -> [batch]).

    Source: Olshausen and Field, "Emergence of simple-cell receptive field properties by learning a
    sparse code for natural images", 1996, with S(x) = |x|.
    """
    return code.abs().sum(1)


def l1_weights(weight: Tensor) -> Tensor:
    """Sum of |w| over one layer's weight matrix (a scalar): Keras's `kernel_regularizer=l1`.

    It asks for sparse weights. That is not a sparse code.
    """
    return weight.abs().sum()


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


def code_logits(pre_activation: Tensor, code_activation: str) -> Tensor | None:
    """Logits whose sigmoid is the code's activity in (0, 1): z for sigmoid, 2 z for tanh.

    For a tanh code the activity is (1 + tanh z) / 2 = sigmoid(2 z). None for a bounded code that
    was registered without logits. Raises `ValueError` for codes that are not bounded, whose mean
    is no probability.
    """
    spec = ACTIVATION_SPECS.get(code_activation)
    if spec is None or not spec.bounded:
        raise ValueError(f"the Bernoulli KL is not defined on a {code_activation} code")
    if code_activation not in ACTIVITY_LOGITS:
        return None
    logits: Tensor = ACTIVITY_LOGITS[code_activation](pre_activation)
    return logits


def log_means_of_activity(activity: Tensor) -> LogMeans:
    """Logarithms of the batch mean of activities in [0, 1] and of its complement.

    For codes without logits (shape: [batch, units]); a mean within `SMALLEST_MEAN` of 0 or 1
    counts as that far from it, and has no gradient.
    """
    mean = widened(activity).mean(0)
    return LogMeans(
        torch.log(mean.clamp_min(SMALLEST_MEAN)), torch.log((1 - mean).clamp_min(SMALLEST_MEAN))
    )


def widened(values: Tensor) -> Tensor:
    """Half precision as float32; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
