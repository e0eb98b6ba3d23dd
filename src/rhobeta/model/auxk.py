"""A remedy for dead units of a topk code: let them try on what the others leave."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from rhobeta.model.autoencoder import Autoencoder, Output


def auxk_loss(
    model: Autoencoder, output: Output, x: Tensor, silent: Tensor, *, units: int
) -> Tensor:
    """Mean squared error once up to `units` silent units join the code.

    mean over batch and pixels of (x - decode(a + a'))^2, with a the code, held fixed, and a' the
    `units` largest pre-activations of the silent units. Its gradient reaches units that the code
    itself has not chosen for long, through what they would have drawn. The same idea, for any
    decoder, as the auxiliary loss of Gao et al., "Scaling and evaluating sparse autoencoders",
    2024, appendix A.2, which reconstructs the residual of a linear one.

    `silent` says which units are (shape: [units], bool); `x` are the images ([batch, pixels]).
    """
    silent_only = output.pre_activation.masked_fill(~silent, -torch.inf)
    values, places = torch.topk(silent_only, min(units, silent.numel()), dim=1, sorted=False)
    # Not rectified: most silent units are below zero for every image, where a ReLU has no gradient.
    values = values.masked_fill(values.isinf(), 0)
    tried = torch.zeros_like(output.code).scatter(1, places, values)
    return mse_loss(model.decode(output.code.detach() + tried), x)


class DeadUnitTracker:
    """Which units have not been active for the last `patience` images."""

    def __init__(self, units: int, patience: int, device: torch.device) -> None:
        self._patience = patience
        self._images_since = torch.zeros(units, dtype=torch.int64, device=device)

    def state_dict(self) -> dict[str, Tensor]:
        """What has been taken in so far."""
        return {"images_since": self._images_since}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from `state`."""
        self._images_since = state["images_since"].to(self._images_since.device)

    def update(self, active: Tensor, images: int) -> None:
        """Take in which units were active for any of a batch's `images` (shape: [units], bool)."""
        self._images_since = torch.where(active, 0, self._images_since + images)

    @property
    def mask(self) -> Tensor:
        """True for silent units (shape: [units])."""
        return self._images_since >= self._patience
