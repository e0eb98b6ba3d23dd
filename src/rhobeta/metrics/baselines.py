"""Baselines for an autoencoder: the mean image, and PCA with as many components as units.

PCA is the best linear code (Eckart and Young, 1936). The same components give the linear
denoiser of least squared error, the Wiener filter.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.moments import mean_square

_PIECE = 4096


@dataclass(frozen=True)
class PrincipalComponents:
    """Mean and principal axes of a set of images: the eigenvectors of their covariance.

    With mean mu and axes U = (u_1, u_2, ...) in order of falling variance, an image x has the
    coefficients U_k^T (x - mu), and its reconstruction is mu + U_k U_k^T (x - mu).
    """

    mean: NDArray[np.float64]
    """mu (shape: [pixels])."""
    axes: NDArray[np.float64]
    """U, orthonormal columns (shape: [pixels, components])."""
    variances: NDArray[np.float64]
    """Variance of the coefficients, descending, at least 0 (shape: [components])."""

    @classmethod
    def fit(cls, images: NDArray[np.float32]) -> "PrincipalComponents":
        """All min(images, pixels) components of images ([images, pixels]).

        The covariance is that of float64, divided by the number of images. Time grows with the
        square of the smaller of images and pixels, times the larger.
        """
        from threadpoolctl import threadpool_limits

        mean = images.mean(0, dtype=np.float64)
        # A second thread hardly helps, and is several times slower on a busy machine.
        with threadpool_limits(1):
            if len(images) < len(mean):
                _, lengths, axes = np.linalg.svd(images - mean, full_matrices=False)
                return cls(mean, axes.T.copy(), np.square(lengths) / len(images))
            covariance = np.zeros((len(mean), len(mean)))
            for start in range(0, len(images), _PIECE):
                centred = images[start : start + _PIECE] - mean
                covariance += centred.T @ centred
            variances, axes = np.linalg.eigh(covariance / len(images))
        # eigh sorts ascending; rounding leaves tiny negative values where there is no variance.
        return cls(mean, axes[:, ::-1].copy(), variances[::-1].clip(0))

    @property
    def components(self) -> int:
        """Number of components."""
        return len(self.variances)

    def coefficients(self, images: NDArray[np.float32], components: int) -> NDArray[np.float32]:
        """Coefficients of images on the first axes (shape: [images, min(components, all)])."""
        axes = self.axes[:, :components].astype(np.float32)
        offset = (self.mean @ self.axes[:, :components]).astype(np.float32)
        coefficients: NDArray[np.float32] = images @ axes - offset
        return coefficients

    def rebuilt(self, coefficients: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images of coefficients on the first axes (shape: [images, pixels]), not clipped."""
        axes = self.axes[:, : coefficients.shape[1]].astype(np.float32)
        images: NDArray[np.float32] = coefficients @ axes.T + self.mean.astype(np.float32)
        return images

    def denoised(self, noisy: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
        """Wiener filter mu + C (C + sigma^2 I)^-1 (y - mu) of noisy images y, not clipped.

        C is the covariance, sigma > 0 the standard deviation of white noise.
        """
        gains = (self.variances / (self.variances + sigma**2)).astype(np.float32)
        return self.rebuilt(self.coefficients(noisy, self.components) * gains)


def reconstruction_baselines(
    pca: PrincipalComponents,
    test: NDArray[np.float32],
    *,
    components: int,
    active: int,
    images: bool,
) -> dict[str, float]:
    """MSE on `test` ([samples, features]) of reconstructions without an autoencoder.

    `pca` uses at most `components` components, fitted on the training samples; `pca_active` at most
    `active`. For `images`, which lie in [0, 1], `pca_clipped` is `pca` clipped to [0, 1], the
    strongest of all.
    """
    coefficients = pca.coefficients(test, components)
    rebuilt = pca.rebuilt(coefficients)
    clipped = {"pca_clipped": mean_square(test - rebuilt.clip(0, 1))} if images else {}
    return {
        "pca": mean_square(test - rebuilt),
        **clipped,
        "pca_active": mean_square(test - pca.rebuilt(coefficients[:, :active])),
    }
