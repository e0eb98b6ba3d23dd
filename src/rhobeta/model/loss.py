"""The objective: what training minimises.

    L = pixel loss + beta * penalty

With the pixel loss `mse`, the mean over batch and pixels of (x - x_hat)^2, and the KL penalty, it
is Ng's cost, 1/2 * sum over pixels + beta' * sum KL, with beta = 2 beta' / pixels, up to the factor
2 / pixels. The pixel loss `bce` is the mean over batch and pixels of
-x log x_hat - (1 - x) log(1 - x_hat), from the output's logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS, PenaltySpec
from rhobeta.model.autoencoder import Output
from rhobeta.model.means import Mean, Means
from rhobeta.model.penalties import (
    PENALTIES,
    code_logits,
    log_means,
    log_means_of_activity,
    widened,
)


class LossTerms(NamedTuple):
    """The objective of a batch and its parts, each a scalar tensor."""

    loss: Tensor
    """pixel loss + beta * penalty."""
    mse: Tensor
    """Mean over batch and pixels of the squared error, whatever the pixel loss is."""
    penalty: Tensor
    """What beta multiplies: sum over units of the KL in nats, sum of |a|, ...; 0 for none."""


@dataclass(frozen=True)
class SparseLoss:
    """L = pixel loss + beta * penalty. `rho` and `beta` may be numbers or tensors."""

    kind: str
    code_activation: str
    rho: float | Tensor
    beta: float | Tensor
    pixel_loss: str = "mse"

    @property
    def spec(self) -> PenaltySpec:
        """The penalty's description."""
        return PENALTY_SPECS[self.kind]

    def __call__(
        self, output: Output, x: Tensor, weights: Sequence[Tensor] = (), means: Means | None = None
    ) -> LossTerms:
        """The terms of a batch of images x (shape: [batch, pixels]).

        `weights` are the network's weight matrices. `means` replaces what the penalty takes the
        mean of: a running mean, or that of a global batch; None is that of this batch alone.
        """
        pixel, mse = self.pixel_terms(output, x)
        means = self.means(output) if means is None else means
        penalty = self.penalty(means, weights)
        if penalty is None:
            return LossTerms(pixel, mse, torch.zeros_like(mse))
        return LossTerms(pixel + self.beta * penalty, mse, penalty)

    def pixel_terms(self, output: Output, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pixel loss, and the squared error, of a batch of images x (scalars)."""
        mse = mse_loss(output.reconstruction, x)
        if self.pixel_loss == "mse":
            return mse, mse
        return binary_cross_entropy_with_logits(output.output_pre_activation, x), mse.detach()

    def means(self, output: Output) -> Means | None:
        """The batch's means that the penalty is a function of; None where it is of none.

        Those of two sets of images, weighted by their sizes, are those of both together.
        """
        on = self.spec.on
        if on == "code":
            return Mean(PENALTIES[self.kind](widened(output.code)).mean())
        if on == "mean":
            return Mean(widened(output.code).mean(0))
        if on != "probability":
            return None
        logits = code_logits(output.pre_activation, self.code_activation)
        if logits is not None:
            return log_means(logits)
        code = ACTIVATION_SPECS[self.code_activation]
        return log_means_of_activity((output.code - code.low) / (code.high - code.low))

    def penalty(self, means: Means | None, weights: Sequence[Tensor]) -> Tensor | None:
        """The penalty, a scalar, from the means and the weight matrices; None for none."""
        if self.spec.on == "nothing":
            return None
        function = PENALTIES[self.kind]
        if self.spec.on == "weights":
            return torch.stack([function(weight) for weight in weights]).sum()
        if self.spec.on == "code" and isinstance(means, Mean):
            return means.value
        per_unit: Tensor = function(means.value if isinstance(means, Mean) else means, self.rho)
        return per_unit.sum()


def ng_beta(beta: float, pixels: int) -> float:
    """Beta' of CS294A's cost that weighs the penalty as `beta` does here: beta * pixels / 2."""
    return beta * pixels / 2
