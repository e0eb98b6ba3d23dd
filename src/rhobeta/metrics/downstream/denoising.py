"""Denoising: reconstructions of noisy images, beside the best linear filter.

A clean image x becomes y = x + sigma n, with n standard normal, and is not clipped. PSNR (dB) is
that of the mean squared error against x over all images and pixels; estimates are clipped to
[0, 1] first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.baselines import PrincipalComponents
from rhobeta.metrics.reconstruction import psnr

_PIECE = 1024

Reconstruct = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Maps images to their reconstructions (shapes: [images, pixels])."""


@dataclass(frozen=True)
class Denoising:
    """PSNR in dB at one level of noise."""

    model: float
    """The model's reconstruction of y."""
    wiener: float
    """The linear filter of least squared error (Wiener), mu + C (C + sigma^2 I)^-1 (y - mu)."""
    noisy: float
    """The noisy image y itself."""


def denoising_quality(
    reconstruct: Reconstruct,
    pca: PrincipalComponents,
    test: NDArray[np.float32],
    *,
    noise: Sequence[float],
    seed: int,
) -> dict[float, Denoising]:
    """Quality on `test` ([images, pixels] in [0, 1]) by standard deviation sigma of the noise.

    The filter's mean mu and covariance C are those of `pca`, fitted on the training images. All
    levels scale the same normal numbers, drawn by `seed`.
    """
    random = np.random.default_rng(seed)
    errors = {sigma: np.zeros(3) for sigma in noise}
    for start in range(0, len(test), _PIECE):
        clean = test[start : start + _PIECE]
        normal = random.standard_normal(clean.shape, dtype=np.float32)
        for sigma in noise:
            noisy = clean + np.float32(sigma) * normal
            estimates = (reconstruct(noisy), pca.denoised(noisy, sigma), noisy)
            errors[sigma] += [
                np.square(estimate.clip(0, 1) - clean).sum(dtype=np.float64)
                for estimate in estimates
            ]
    return {
        sigma: Denoising(*(psnr(sum_ / test.size) for sum_ in errors[sigma])) for sigma in noise
    }
