"""Anomaly detection: the AUROC and the two scores."""

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.covariance import LedoitWolf

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.downstream.anomaly import auroc, code_scores, pixel_scores

Codes = NDArray[np.float32]


def test_auroc_is_the_share_of_ordered_pairs() -> None:
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.2])
    labels = np.array([3, 5, 3, 7, 7], np.uint8)
    # Normal 0.1 and 0.4; anomalies 0.4, 0.8, 0.2: pairs in order 3 + 1 and half a tie, of 6.
    assert auroc(scores, labels, [3]) == pytest.approx(4.5 / 6)
    # Normal 0.1, 0.4, 0.4; anomalies 0.8, 0.2: 3 + 1 of 6.
    assert auroc(scores, labels, [3, 5]) == pytest.approx(4 / 6)


def codes(count: int, seed: int = 0) -> Codes:
    random = np.random.default_rng(seed)
    return (2 + random.normal(size=(count, 4)) * [0.1, 0.2, 0.4, 0.8]).astype(np.float32)


def test_code_scores_are_mahalanobis_distances() -> None:
    normal, test = codes(80), codes(9, seed=1)
    unit = [
        part / np.linalg.norm(part.astype(np.float64), axis=1)[:, None] for part in (normal, test)
    ]
    fitted = LedoitWolf().fit(unit[0])
    expected = [
        (row - fitted.location_) @ np.linalg.inv(fitted.covariance_) @ (row - fitted.location_)
        for row in unit[1]
    ]
    np.testing.assert_allclose(code_scores(normal, test), expected, rtol=1e-8)


@pytest.mark.parametrize("factor", [0.25, 8.0])
def test_code_scores_ignore_the_length_of_a_code(factor: float) -> None:
    normal, test = codes(80), codes(9, seed=1)
    np.testing.assert_allclose(
        code_scores(normal, np.float32(factor) * test), code_scores(normal, test)
    )


@pytest.mark.filterwarnings("error")
def test_code_scores_of_dead_units_are_finite() -> None:
    normal, test = codes(80), codes(9, seed=1)
    normal[:, 2], test[0] = 0, 0
    scores = code_scores(normal, test)
    assert np.isfinite(scores).all()
    # A unit that was dead in all normal images and is active now is the sign of an anomaly.
    test[1:, 2] = 0
    assert (code_scores(normal, test)[1:] < scores[1:]).all()
    dead = np.zeros((80, 4), np.float32)
    assert np.isfinite(code_scores(dead, test)).all()


def test_pixel_scores_are_the_residual_of_the_svd(digits: Samples) -> None:
    pixels = pixels_of(digits.values)
    normal, test = pixels[digits.labels == 3], pixels[:100]
    mean = normal.mean(0, dtype=np.float64)
    axes = np.linalg.svd(normal - mean, full_matrices=False)[2][:32]
    residual = (test - mean) - (test - mean) @ axes.T @ axes
    np.testing.assert_allclose(pixel_scores(normal, test), np.square(residual).sum(1), rtol=1e-3)


def test_pixel_scores_of_few_images() -> None:
    normal = np.random.default_rng(0).random((5, 40), dtype=np.float32)
    np.testing.assert_allclose(pixel_scores(normal, normal), 0, atol=1e-9)


@pytest.mark.parametrize("score", [code_scores, pixel_scores])
def test_scores_separate_ones_from_other_digits(
    digits: Samples, test_digits: Samples, score
) -> None:
    train, test = pixels_of(digits.values), pixels_of(test_digits.values)
    assert auroc(score(train[digits.labels == 1], test), test_digits.labels, [1]) > 0.95
