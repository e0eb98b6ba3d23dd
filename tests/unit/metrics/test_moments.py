"""Means and spreads, against numpy's own in float64."""

import numpy as np
import pytest

from rhobeta.metrics.moments import mean_and_spread, mean_square


def test_mean_square_by_hand() -> None:
    assert mean_square(np.array([[3, 0], [1, 2]], np.float32)) == 14 / 4


def test_mean_and_spread_are_those_of_the_centred_features() -> None:
    random = np.random.default_rng(0)
    features = (random.normal(size=(50, 3)) * [1, 5, 0] + [7, 0, 3]).astype(np.float32)
    mean, spread = mean_and_spread(features)
    exact = features.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0))
    assert spread == pytest.approx(np.sqrt(np.square(exact - exact.mean(0)).mean()))


@pytest.mark.parametrize("value", [0, 0.1, 1000.3])
def test_features_that_never_vary_have_a_spread_to_divide_by(value: float) -> None:
    assert mean_and_spread(np.full((1000, 3), value, np.float32))[1] == 1
