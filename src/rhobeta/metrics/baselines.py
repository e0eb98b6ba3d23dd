"""What any autoencoder must beat: the mean image, and PCA with as many components as units."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.linear import PrincipalComponents
from rhobeta.metrics.moments import mean_square


@dataclass(frozen=True)
class Baselines:
    """Test MSE of reconstructions that need no autoencoder."""

    mean_image: float
    """Every image reconstructed as the training set's mean."""
    pca: float
    """PCA with as many components as the code has units."""
    pca_clipped: float
    """The same, clipped to [0, 1]: the stronger baseline."""


def reconstruction_baselines(
    pca: PrincipalComponents, test: NDArray[np.float32], *, components: int
) -> Baselines:
    """The baselines on `test` ([images, pixels] in [0, 1]), of a PCA fitted on the training images.

    PCA has at most as many components as there are pixels or training images.
    """
    rebuilt = pca.rebuilt(pca.coefficients(test, components))
    return Baselines(
        mean_image=mean_square(test - pca.mean),
        pca=mean_square(test - rebuilt),
        pca_clipped=mean_square(test - rebuilt.clip(0, 1)),
    )
