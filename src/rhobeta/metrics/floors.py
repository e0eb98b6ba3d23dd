"""What any autoencoder must beat: the mean image, and PCA with as many components as units."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Floors:
    """Test MSE of reconstructions that need no autoencoder."""

    mean_image: float
    """Every image reconstructed as the training set's mean."""
    pca: float
    """PCA with as many components as the code has units."""
    pca_clipped: float
    """The same, clipped to [0, 1]: the stronger floor."""


def reconstruction_floors(
    train: NDArray[np.float32], test: NDArray[np.float32], *, components: int
) -> Floors:
    """Fit the floors on `train` and measure them on `test` (both: [images, pixels] in [0, 1]).

    PCA has at most as many components as there are pixels or training images.
    """
    from sklearn.decomposition import PCA

    components = min(components, *train.shape)
    pca = PCA(n_components=components, svd_solver="covariance_eigh").fit(train)
    rebuilt = pca.inverse_transform(pca.transform(test))
    return Floors(
        mean_image=_mse(test, train.mean(0, dtype=np.float64)),
        pca=_mse(test, rebuilt),
        pca_clipped=_mse(test, rebuilt.clip(0, 1)),
    )


def _mse(x: NDArray[np.float32], reconstruction: NDArray[np.floating]) -> float:
    return float(np.square(x - reconstruction, dtype=np.float64).mean())
