"""Quality of reconstructions over a whole split, accumulated in float64.

    MSE  = mean over samples and features of (x - x_hat)^2
    FVU  = sum |x - x_hat|^2 / sum |x - mean_train|^2
    PSNR = 10 log10(1 / MSE) in dB, for pixels in [0, 1]

MSE is in squared units of the data. FVU, the fraction of variance unexplained, has no unit: it is 1
for the training set's mean and 0 for a perfect reconstruction. FVU is infinite where every sample
is that mean, PSNR where the MSE is 0.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.model.activations import topk
from rhobeta.model.autoencoder import Autoencoder

# Images at a time: few enough that float64 copies stay in the cache; more where codes are made.
_PIECE, _CODES = 128, 2048


@dataclass(frozen=True)
class ReconstructionQuality:
    """MSE, FVU and PSNR of one split."""

    mse: float
    fvu: float
    psnr_db: float


class ReconstructionAccumulator:
    """Accumulates images and reconstructions; `mean_image` is that of the train split."""

    def __init__(self, mean_image: Tensor) -> None:
        self._mean_image = mean_image.double()
        self._error = self._variation = torch.zeros((), dtype=torch.float64)
        self._values = 0

    def update(self, x: Tensor, reconstruction: Tensor) -> None:
        """Add images and their reconstructions (shapes: [images, pixels])."""
        mean_image = self._mean_image.to(x.device)
        pieces = zip(torch.split(x, _PIECE), torch.split(reconstruction, _PIECE), strict=True)
        for part, rebuilt in pieces:
            exact = part.to(torch.float64, copy=True)
            self._error = self._error + _total((exact - rebuilt).square_()).cpu()
            self._variation = self._variation + _total(exact.sub_(mean_image).square_()).cpu()
        self._values += x.numel()

    def add(self, other: "ReconstructionAccumulator") -> "ReconstructionAccumulator":
        """Add the images of another accumulator to this one, and return it."""
        self._error = self._error + other._error
        self._variation = self._variation + other._variation
        self._values += other._values
        return self

    def quality(self) -> ReconstructionQuality:
        """The measures of all images so far. Raises `ValueError` where there are none."""
        if self._values == 0:
            raise ValueError("no images to measure")
        mse = self._error.item() / self._values
        variation = self._variation.item()
        return ReconstructionQuality(
            mse=mse,
            fvu=self._error.item() / variation if variation > 0 else math.inf,
            psnr_db=psnr(mse),
        )


def feature_mse(x: NDArray[np.float32], reconstruction: NDArray[np.float32]) -> NDArray[np.float64]:
    """MSE of each feature over all samples ([samples, features] -> [features])."""
    error = np.zeros(x.shape[1])
    for start in range(0, len(x), _CODES):
        piece = slice(start, start + _CODES)
        error += np.square(x[piece].astype(np.float64) - reconstruction[piece]).sum(0)
    mse: NDArray[np.float64] = error / len(x)
    return mse


def psnr(mse: float) -> float:
    """Peak signal-to-noise ratio 10 log10(1 / MSE) in dB of pixels in [0, 1].

    >>> psnr(0.01), psnr(0.0)
    (20.0, inf)
    """
    return 10 * math.log10(1 / mse) if mse > 0 else math.inf


def truncated_mse(model: Autoencoder, x: Tensor, kept: int) -> float:
    """MSE where only the `kept` most active units of each image stay active.

    mean over images and pixels of (x - decode(a'))^2, where a' is the code a with all but the
    `kept` largest activities set to 0. It compares codes of any kind at one L0. `x` are images
    ([images, pixels] in [0, 1]). Raises `ValueError` for codes with negative values, for which 0
    does not mean inactive.
    """
    error = 0.0
    with torch.inference_mode():
        for piece in torch.split(x, _CODES):
            code = model.encode(piece)
            if (code < 0).any():
                raise ValueError("found negative values in the code; expected activities >= 0")
            rebuilt = model.decode(topk(code, min(kept, model.architecture.units)))
            error += _total((piece.double() - rebuilt).square()).item()
    return error / x.numel()


def _total(values: Tensor) -> Tensor:
    """Sum of all entries ([rows, features]), in the same order for any number of threads."""
    return values.sum(1).sum()
