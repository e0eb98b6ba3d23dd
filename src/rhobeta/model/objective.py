"""The objective: what training minimises.

    L = mean over batch and pixels of (x - x_hat)^2 + beta * sum over units j of KL(rho || q_j)

Ng's cost, 1/2 * sum over pixels + beta' * sum KL, is the same with beta = 2 beta' / pixels, up to
the factor 2 / pixels.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from rhobeta.model.autoencoder import Output
from rhobeta.model.penalties import bernoulli_kl, code_logits, log_means


class Terms(NamedTuple):
    """The objective of a batch and its parts, each a scalar tensor."""

    loss: Tensor
    """mse + beta * penalty."""
    mse: Tensor
    """Mean over batch and pixels of the squared error."""
    penalty: Tensor
    """Sum over units of KL(rho || q_j), in nats; 0 without a penalty."""


@dataclass(frozen=True)
class Objective:
    """L = mse + beta * sum KL. `rho` and `beta` may be numbers or tensors."""

    kind: str
    code_activation: str
    rho: float | Tensor
    beta: float | Tensor

    def __call__(self, output: Output, x: Tensor) -> Terms:
        """The terms of a batch of images x (shape: [batch, pixels])."""
        mse = mse_loss(output.reconstruction, x)
        if self.kind == "none":
            return Terms(mse, mse, torch.zeros_like(mse))
        penalty = bernoulli_kl(log_means(self.logits(output)), self.rho).sum()
        return Terms(mse + self.beta * penalty, mse, penalty)

    def logits(self, output: Output) -> Tensor:
        """Logits of the activity that the penalty bounds (shape: [batch, units])."""
        return code_logits(output.pre_activation, self.code_activation)


def ng_beta(beta: float, pixels: int) -> float:
    """Beta' of CS294A's cost that weighs the penalty as `beta` does here: beta * pixels / 2."""
    return beta * pixels / 2
