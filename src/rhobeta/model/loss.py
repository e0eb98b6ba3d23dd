"""The loss that training minimises.

    L = pixel loss + beta * penalty

With the pixel loss `mse`, the mean over batch and pixels of (x - x_hat)^2, and the KL penalty, it
is Ng's cost, 1/2 * sum over pixels + beta' * sum KL, with beta = 2 beta' / pixels, up to the factor
2 / pixels. The pixel loss `bce` is the mean over batch and pixels of
-x log x_hat - (1 - x) log(1 - x_hat), from the output's logits.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, mse_loss

from rhobeta.errors import RhobetaError
from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS, PenaltySpec
from rhobeta.model.activations import ACTIVITY_LOGITS
from rhobeta.model.autoencoder import Output
from rhobeta.model.fixed_order import total
from rhobeta.model.means import Mean, Means
from rhobeta.model.penalties import PENALTIES, log_means, log_means_of_activity, widened


class LossTerms(NamedTuple):
    """The loss of a batch and its parts, each a scalar tensor."""

    loss: Tensor
    """pixel loss + beta * penalty."""
    mse: Tensor
    """Mean over batch and pixels of the squared error, whatever the pixel loss is."""
    penalty: Tensor
    """What beta multiplies: sum over units of the KL in nats, sum of |a|, ...; 0 for none."""


class SparseLoss:
    """L = pixel loss + beta * penalty.

    `kind` is a penalty's name (see `rhobeta.model.penalties.PENALTIES`), `code_activation` that of
    the code that it is applied to. `rho`, the target mean activation, and `beta`, the penalty's
    weight, may be numbers or tensors. `pixel_loss` is "mse" or "bce".

    Raises `ValueError` for a Bernoulli KL on a code that is not bounded.

    >>> import torch
    >>> from rhobeta.model.autoencoder import Output
    >>> z = torch.zeros(2, 3)  # pre-activations of 2 images, 3 units: every mean activation is 1/2
    >>> x_hat = torch.full((2, 4), 0.5)
    >>> output = Output(z, torch.sigmoid(z), torch.logit(x_hat), x_hat)
    >>> loss = SparseLoss("kl", "sigmoid", rho=0.05, beta=0.01)
    >>> terms = loss(output, x=torch.ones(2, 4))
    >>> round(terms.mse.item(), 4), round(terms.penalty.item(), 4), round(terms.loss.item(), 4)
    (0.25, 1.4839, 0.2648)
    """

    def __init__(
        self,
        kind: str,
        code_activation: str,
        rho: float | Tensor,
        beta: float | Tensor,
        pixel_loss: str = "mse",
    ) -> None:
        self.kind = kind
        self.code_activation = code_activation
        self.rho = rho
        self.beta = beta
        self.pixel_loss = pixel_loss
        self.spec: PenaltySpec = PENALTY_SPECS[kind]
        """The penalty's description."""
        self._code = ACTIVATION_SPECS[code_activation]
        if self.spec.on == "probability" and not self._code.bounded:
            raise ValueError(f"the Bernoulli KL is not defined on a {code_activation} code")
        self._function = PENALTIES.get(kind)
        self._logits = ACTIVITY_LOGITS.get(code_activation)

    def __call__(
        self, output: Output, x: Tensor, weights: Sequence[Tensor] = (), means: Means | None = None
    ) -> LossTerms:
        """The terms of a batch of images x (shape: [batch, pixels]).

        `weights` are the network's weight matrices. `means` replaces what the penalty takes the
        mean of: a running mean, or that of a global batch; None is that of this batch alone.
        """
        pixel, mse = self.pixel_terms(output, x)
        means = self.means(output.pre_activation, output.code) if means is None else means
        penalty = self.penalty(means, weights)
        if penalty is None:
            return LossTerms(pixel, mse, torch.zeros_like(mse))
        return LossTerms(pixel + self.beta * penalty, mse, penalty)

    def pixel_terms(self, output: Output, x: Tensor) -> tuple[Tensor, Tensor]:
        """The pixel loss and the squared error of a batch of images x (scalars)."""
        mse = mse_loss(output.reconstruction, x)
        if self.pixel_loss == "mse":
            return mse, mse
        return binary_cross_entropy_with_logits(output.output_pre_activation, x), mse.detach()

    def means(self, z: Tensor, code: Tensor) -> Means | None:
        """The batch's means that the penalty is a function of; None for a penalty without means.

        z are the pre-activations of the code (shapes: [batch, units]).
        The means of two batches combine by their sizes (see `rhobeta.model.means.joined`).
        """
        on = self.spec.on
        if on == "code" and self._function is not None:
            return Mean(total(self._function(widened(code))) / len(code))
        if on == "mean":
            return Mean(widened(code).mean(0))
        if on != "probability":
            return None
        if self._logits is not None:
            return log_means(self._logits(z))
        low, high = self._code.low, self._code.high
        return log_means_of_activity((code - low) / (high - low))

    def penalty(self, means: Means | None, weights: Sequence[Tensor]) -> Tensor | None:
        """The penalty, a scalar, from the means and the weight matrices; None for none."""
        if self._function is None:
            return None
        if self.spec.on == "weights":
            return torch.stack([self._function(weight) for weight in weights]).sum()
        if means is None:
            return None
        if self.spec.on == "code" and isinstance(means, Mean):
            return means.value
        values = means.value if isinstance(means, Mean) else means
        per_unit: Tensor = self._function(values, self.rho)
        expected = (values[0] if isinstance(values, tuple) else values).shape
        if not isinstance(per_unit, Tensor) or per_unit.shape != expected:
            is_tensor = isinstance(per_unit, Tensor)
            found = list(per_unit.shape) if is_tensor else type(per_unit).__name__
            raise RhobetaError(
                f"The penalty {self.kind} returned {found}; expected a value"
                f" of each unit, a tensor of shape {list(expected)}."
            )
        return total(per_unit)


def cross_entropies(logits: Tensor, x: Tensor) -> Tensor:
    """Sum over pixels of the cross-entropy of each image x (shape: [images, pixels] -> [images]).

    `logits` are the output's before its sigmoid.
    """
    return binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)


def ng_beta(beta: float, pixels: int) -> float:
    """Beta' of CS294A's cost that weighs the penalty as `beta` does here: beta * pixels / 2."""
    return beta * pixels / 2
