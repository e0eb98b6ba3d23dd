"""How good a reconstruction is, over a whole split, accumulated in float64.

    MSE  = mean over images and pixels of (x - x_hat)^2
    FVU  = sum |x - x_hat|^2 / sum |x - mean_train|^2
    PSNR = 10 log10(1 / MSE) in dB, for pixels in [0, 1]

FVU, the fraction of variance unexplained, is 1 for the training set's mean image and 0 for a
perfect reconstruction.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_PIECE = 128


@dataclass(frozen=True)
class ReconstructionQuality:
    """MSE, FVU and PSNR of one split."""

    mse: float
    fvu: float
    psnr_db: float


class ReconstructionAccumulator:
    """Takes images and reconstructions piece by piece; `mean_image` is that of the train split."""

    def __init__(self, mean_image: Tensor) -> None:
        self._mean_image = mean_image.double()
        self._error = self._variation = torch.zeros((), dtype=torch.float64)
        self._values = 0

    def update(self, x: Tensor, reconstruction: Tensor) -> None:
        """Add images and their reconstructions (shapes: [images, pixels])."""
        mean_image = self._mean_image.to(x.device)
        # In pieces that stay in the cache: as float64 a whole split would go through memory.
        pieces = zip(torch.split(x, _PIECE), torch.split(reconstruction, _PIECE), strict=True)
        for part, rebuilt in pieces:
            exact = part.to(torch.float64, copy=True)
            self._error = self._error + (exact - rebuilt).square_().sum().cpu()
            self._variation = self._variation + exact.sub_(mean_image).square_().sum().cpu()
        self._values += x.numel()

    def add(self, other: "ReconstructionAccumulator") -> "ReconstructionAccumulator":
        """Add the images that another has taken; returns this one."""
        self._error = self._error + other._error
        self._variation = self._variation + other._variation
        self._values += other._values
        return self

    def quality(self) -> ReconstructionQuality:
        """The measures of all images so far. Raises `ValueError` before the first."""
        if self._values == 0:
            raise ValueError("no images to measure")
        mse = self._error.item() / self._values
        variation = self._variation.item()
        return ReconstructionQuality(
            mse=mse,
            fvu=self._error.item() / variation if variation > 0 else math.inf,
            psnr_db=psnr(mse),
        )


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio in dB of pixels in [0, 1]; infinite for no error."""
    return 10 * math.log10(1 / mse) if mse > 0 else math.inf
