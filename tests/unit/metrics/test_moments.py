"""Means and spreads, against numpy's own in float64."""

import numpy as np
import pytest

from rhobeta.metrics.moments import mean_and_spread


def test_mean_and_spread_of_features() -> None:
    random = np.random.default_rng(0)
    features = (random.normal(size=(50, 3)) * [1, 5, 0] + [7, 0, 3]).astype(np.float32)
    mean, spread = mean_and_spread(features)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0))
    assert spread == pytest.approx(np.sqrt(np.square(exact - exact.mean(0)).mean()))


@pytest.mark.parametrize("value", [0, 0.1, 1000.3])
def test_spread_of_constant_features_is_one(value: float) -> None:
    assert mean_and_spread(np.full((1000, 3), value, np.float32))[1] == 1
