"""Denoising: reconstructions of noisy images, beside the best linear filter.

A clean image x becomes y = x + sigma n, with n standard normal, and is not clipped. PSNR (dB) is
that of the mean squared error against x over all images and pixels; estimates are clipped to
[0, 1] first.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.baselines import PrincipalComponents
from rhobeta.metrics.reconstruction import psnr

_PIECE = 1024

Reconstruct = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Maps images to their reconstructions (shapes: [images, pixels])."""


def denoising_quality(
    reconstruct: Reconstruct,
    pca: PrincipalComponents,
    test: NDArray[np.float32],
    *,
    noise: Sequence[float],
    seed: int,
) -> dict[float, dict[str, float]]:
    """PSNR on `test` ([images, pixels] in [0, 1]) by standard deviation sigma of the noise.

    `code` is the model's reconstruction of y; `wiener` the linear filter of least squared error,
    mu + C (C + sigma^2 I)^-1 (y - mu), with mean mu and covariance C of `pca`, fitted on the
    training images; `noisy` is y itself. All levels scale the same normal numbers, drawn by `seed`.
    """
    random = np.random.default_rng(seed)
    errors = {sigma: dict.fromkeys(("code", "wiener", "noisy"), 0.0) for sigma in noise}
    for start in range(0, len(test), _PIECE):
        clean = test[start : start + _PIECE]
        normal = random.standard_normal(clean.shape, dtype=np.float32)
        for sigma in noise:
            noisy = clean + np.float32(sigma) * normal
            estimates = (reconstruct(noisy), pca.denoised(noisy, sigma), noisy)
            for name, estimate in zip(errors[sigma], estimates, strict=True):
                error = np.square(estimate.clip(0, 1) - clean).sum(dtype=np.float64)
                errors[sigma][name] += float(error)
    return {
        sigma: {name: psnr(error / test.size) for name, error in by.items()}
        for sigma, by in errors.items()
    }
