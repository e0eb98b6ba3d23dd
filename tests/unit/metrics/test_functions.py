"""The measures as `rhobeta.metrics` offers them: the same numbers from any type and shape."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from rhobeta import SparseAutoencoder
from rhobeta.metrics import linear_probe, reconstruction_quality, sparsity_statistics


def test_quality_of_the_mean_and_of_a_perfect_copy() -> None:
    bytes_ = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    mean = (bytes_ / 255).mean(0)
    at_mean = reconstruction_quality(bytes_, np.broadcast_to(mean, (20, 4, 4)))
    assert at_mean.fvu == pytest.approx(1, abs=1e-12)
    assert at_mean.mse == pytest.approx((bytes_ / 255).var(0).mean())
    assert reconstruction_quality(torch.from_numpy(bytes_), bytes_ / 255).mse < 1e-30
    # Rescaled data and reconstructions have the same FVU.
    noisy = bytes_ + 9.0
    assert reconstruction_quality(5 * bytes_.astype(float), 5 * noisy).fvu == pytest.approx(
        reconstruction_quality(bytes_.astype(float), noisy).fvu
    )
    with pytest.raises(ValueError, match="X has 20 rows, X_hat 19"):
        reconstruction_quality(bytes_, bytes_[1:])


def test_quality_agrees_with_the_score_of_an_estimator() -> None:
    rows = np.random.default_rng(0).normal(3, 1, (60, 8))
    sae = SparseAutoencoder(n_components=4, max_iter=2, random_state=0).fit(rows[:40])
    test = rows[40:]
    found = reconstruction_quality(test, sae.reconstruct(test), mean=sae.mean_)
    assert 1 - found.fvu == pytest.approx(sae.score(test), abs=1e-6)


def test_statistics_refuse_negative_activities() -> None:
    with pytest.raises(ValueError, match=r"expected activities >= 0, such as sae\.model_"):
        sparsity_statistics(np.array([[-0.1, 0.2]]))


def test_probe_takes_lists_and_labels_of_text() -> None:
    X, y = load_digits(return_X_y=True)  # noqa: N806
    names = y.astype(str)
    found = linear_probe(X[:200].tolist(), names[:200], X[200:400], names[200:400])
    assert 0.8 < found < 1
