"""Anomaly detection: some classes are normal, and images of all others should score higher.

AUROC is the probability that an anomaly scores higher than a normal image, ties counting half
(0.5 is chance). The model is not trained again: both scores are fitted on the normal training
images alone.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.baselines import PrincipalComponents
from rhobeta.metrics.probe import Labels, Representation

_COMPONENTS = 32

Score = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]
"""Scores the test images by the normal training images (shapes: [images, features], [images])."""


def code_scores(normal: NDArray[np.float32], test: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared Mahalanobis distance of test codes from normal training codes (shape: [images]).

    (a - mu)^T S^-1 (a - mu), with the mean mu and the covariance S of the normal codes, shrunk as
    in Ledoit and Wolf (2004). Codes ([images, units]) are first scaled to unit length; a zero code
    stays zero.

    Chosen on MNIST's validation images with the shipped model: mean AUROC .986 (.979 without the
    scaling). Distance to the five nearest normal codes: .988 (.949), at three times the cost.
    Residual of a PCA of the codes: .982 (.976). PCA of the pixels (`pixel_scores`): .953.
    """
    from sklearn.covariance import LedoitWolf

    fitted = LedoitWolf().fit(_unit_length(normal))
    # One product; LedoitWolf.mahalanobis loops over pairs of units.
    centred = _unit_length(test) - fitted.location_
    scores: NDArray[np.float64] = np.einsum("ij,ij->i", centred @ fitted.precision_, centred)
    return scores


def pixel_scores(normal: NDArray[np.float32], test: NDArray[np.float32]) -> NDArray[np.float64]:
    """Squared residual |x - x_pca|^2 of test images after PCA (shape: [images]).

    The PCA is that of the normal training images, with 32 components or as many as there are
    pixels or images. Images are [images, pixels].
    """
    pca = PrincipalComponents.fit(normal)
    residual = test - pca.rebuilt(pca.coefficients(test, _COMPONENTS))
    scores: NDArray[np.float64] = np.square(residual, dtype=np.float64).sum(1)
    return scores


def aurocs(
    name: str,
    score: Score,
    representation: Representation,
    labels: Labels,
    normal_classes: list[int] | None,
) -> dict[str, float]:
    """AUROC of a score for each choice of normal classes, and the mean: `code_auroc_at_3`.

    Without `normal_classes` each class is normal in turn, if training and test images have it.
    """
    if normal_classes is None:
        groups = [[label] for label in np.intersect1d(labels.train, labels.test).tolist()]
    else:
        groups = [sorted(normal_classes)]
    single = {}
    for group in groups:
        normal = representation.train[np.isin(labels.train, group)]
        scores = score(normal, representation.test)
        at = "_".join(map(str, group))
        single[f"{name}_auroc_at_{at}"] = auroc(scores, labels.test, group)
    return {f"{name}_auroc": float(np.mean(list(single.values()))), **single}


def auroc(
    scores: NDArray[np.float64], test_labels: NDArray[np.uint8], normal_classes: list[int]
) -> float:
    """AUROC of `scores` (shape: [images]); images outside `normal_classes` are the anomalies.

    >>> auroc(np.array([0.1, 0.4, 0.8]), np.array([3, 3, 7], np.uint8), [3])
    1.0
    """
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(~np.isin(test_labels, normal_classes), scores))


def _unit_length(codes: NDArray[np.float32]) -> NDArray[np.float64]:
    exact = codes.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    scaled: NDArray[np.float64] = exact / np.where(lengths > 0, lengths, 1)
    return scaled
