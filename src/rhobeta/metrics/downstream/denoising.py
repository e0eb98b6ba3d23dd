"""Denoising: reconstructions of noisy images, beside the best linear filter.

A clean image x becomes y = x + sigma n, with n standard normal, and is not clipped. PSNR (dB) is
that of the mean squared error against x over all images and pixels; estimates are clipped to
[0, 1] first.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.reconstruction import psnr

_PIECE = 1024

Denoise = Callable[[NDArray[np.float32], float], NDArray[np.float32]]
"""Maps noisy images and their sigma to estimates of the clean ones (shapes: [images, pixels])."""


def denoising_quality(
    denoisers: Mapping[str, Denoise],
    test: NDArray[np.float32],
    *,
    noise: Sequence[float],
    seed: int,
) -> dict[str, float]:
    """PSNR on `test` ([images, pixels] in [0, 1]) by denoiser and sigma, such as `code_at_0.1`.

    All levels and denoisers see the same normal numbers, drawn by `seed`, scaled by sigma.
    """
    random = np.random.default_rng(seed)
    errors = dict.fromkeys(((name, sigma) for name in denoisers for sigma in noise), 0.0)
    for start in range(0, len(test), _PIECE):
        clean = test[start : start + _PIECE]
        normal = random.standard_normal(clean.shape, dtype=np.float32)
        for sigma in noise:
            noisy = clean + np.float32(sigma) * normal
            for name, denoise in denoisers.items():
                estimate = denoise(noisy, sigma).clip(0, 1)
                error = np.square(estimate - clean).sum(dtype=np.float64)
                errors[name, sigma] += float(error)
    return {
        f"{name}_at_{sigma:g}": psnr(error / test.size) for (name, sigma), error in errors.items()
    }
