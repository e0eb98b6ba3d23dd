"""Finding anomalies: some classes are normal, images of all others should score higher.

AUROC is the probability that an anomaly scores higher than a normal image, ties counting half.
Nothing is trained again: both scores are fitted on the normal training images alone.
"""

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.linear import PrincipalComponents

_COMPONENTS = 32


def code_scores(normal: NDArray[np.float32], test: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared Mahalanobis distance of test codes from normal training codes (shape: [images]).

    Codes are [images, units], scaled to unit length first (a zero code stays zero); mean and
    covariance are the normal codes', the covariance shrunk as Ledoit and Wolf (2004).

    Chosen on MNIST's validation images, of the shipped model: mean AUROC .986, and .979 without
    the scaling; distance to the five nearest normal codes .988 scaled and .949 not, at three times
    the cost and growing with the images; residual of a PCA of the codes with 32 components .982
    and .976; PCA of the pixels (`pixel_scores`) .953.
    """
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(_unit_length(normal))
    # LedoitWolf.mahalanobis takes a loop over pairs of units where this takes one product.
    centred = _unit_length(test) - fitted.location_
    scores: NDArray[np.float64] = np.einsum("ij,ij->i", centred @ fitted.precision_, centred)
    return scores


def pixel_scores(normal: NDArray[np.float32], test: NDArray[np.float32]) -> NDArray[np.float64]:
    """What a PCA of the normal training images leaves of test images (shape: [images]).

    Squared residual of PCA with 32 components, or as many as there are pixels or images. Images
    are [images, pixels].
    """
    pca = PrincipalComponents.fit(normal)
    residual = test - pca.rebuilt(pca.coefficients(test, _COMPONENTS))
    scores: NDArray[np.float64] = np.square(residual, dtype=np.float64).sum(1)
    return scores


def auroc(
    scores: NDArray[np.float64], test_labels: NDArray[np.uint8], normal_classes: list[int]
) -> float:
    """AUROC of `scores` (shape: [images]), all images outside `normal_classes` being anomalies."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(~np.isin(test_labels, normal_classes), scores))


def _unit_length(codes: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = codes.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = exact / np.where(lengths > 0, lengths, 1)
    return scaled
