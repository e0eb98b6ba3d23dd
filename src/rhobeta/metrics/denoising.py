"""Denoising without training for it: noisy images through a model, against the linear optimum.

A clean image x becomes y = x + sigma n, n standard normal, not clipped. PSNR is of the mean squared
error against x over all images and pixels, every estimate clipped to [0, 1].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.linear import PrincipalComponents
from rhobeta.metrics.moments import mean_square
from rhobeta.metrics.reconstruction import psnr

Reconstruct = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Images to their reconstructions (shapes: [images, pixels])."""


@dataclass(frozen=True)
class Denoising:
    """PSNR in dB at one level of noise."""

    model: float
    """The model's reconstruction of y."""
    wiener: float
    """The linear filter of least squared error, mu + C (C + sigma^2 I)^-1 (y - mu)."""
    noisy: float
    """y itself."""


def denoising_quality(
    reconstruct: Reconstruct,
    pca: PrincipalComponents,
    test: NDArray[np.float32],
    *,
    noise: Sequence[float],
    seed: int,
) -> dict[float, Denoising]:
    """Quality on `test` ([images, pixels] in [0, 1]) by standard deviation sigma of the noise.

    Mean mu and covariance C of the filter are those of `pca`, fitted on the training images. All
    levels scale the same normal numbers, drawn by `seed`.
    """
    normal = np.random.default_rng(seed).standard_normal(test.shape, dtype=np.float32)

    def quality(estimate: NDArray[np.float32]) -> float:
        return psnr(mean_square(test - estimate.clip(0, 1)))

    qualities = {}
    for sigma in noise:
        noisy = test + np.float32(sigma) * normal
        qualities[sigma] = Denoising(
            model=quality(reconstruct(noisy)),
            wiener=quality(pca.denoised(noisy, sigma)),
            noisy=quality(noisy),
        )
    return qualities
