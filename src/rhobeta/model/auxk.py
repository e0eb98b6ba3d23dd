"""The auxiliary loss that gives dead units of a topk code a gradient.

It is the mean over batch and pixels of (x - decode(a + a'))^2. Here a is the code, without
gradient, and a' the `added_code` of inactive units. Its gradient reaches units that top-k has not
selected for long. For a linear decoder this is the auxiliary loss of Gao et al., "Scaling and
evaluating sparse autoencoders", 2024, appendix A.2, which reconstructs the residual.
"""

import torch
from torch import Tensor


def added_code(z: Tensor, inactive: Tensor, units: int) -> Tensor:
    """a': of each image the up to `units` largest pre-activations z of inactive units, others 0.

    z has the shape [batch, units of the code], as has the result; `inactive` marks the inactive
    units (shape: [units of the code], bool).
    """
    candidates = z.masked_fill(~inactive, -torch.inf)
    values, places = torch.topk(candidates, min(units, inactive.numel()), dim=1, sorted=False)
    # No ReLU: most inactive units are below zero for every image, where it has no gradient.
    values = values.masked_fill(values.isinf(), 0)
    return torch.zeros_like(z).scatter(1, places, values)


class DeadUnitTracker:
    """Which units have not been active for the last `patience` images."""

    def __init__(self, units: int, patience: int, device: torch.device) -> None:
        self._patience = patience
        self._images_since = torch.zeros(units, dtype=torch.int64, device=device)

    def state_dict(self) -> dict[str, Tensor]:
        """Images since each unit was active."""
        return {"images_since": self._images_since}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore `state`."""
        self._images_since = state["images_since"].to(self._images_since.device)

    def update(self, active: Tensor, images: int) -> None:
        """Note which units were `active` for any of a batch's `images` (shape: [units], bool)."""
        self._images_since = torch.where(active, 0, self._images_since + images)

    @property
    def mask(self) -> Tensor:
        """True for inactive units (shape: [units])."""
        return self._images_since >= self._patience
