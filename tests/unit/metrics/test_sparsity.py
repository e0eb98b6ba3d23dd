"""Sparsity statistics: by hand on small codes, and against naive sums on large ones."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rhobeta.metrics.sparsity import (
    SparsityAccumulator,
    SparsityStatistics,
    gini,
    hoyer,
    treves_rolls,
)


def statistics(
    *pieces: Tensor,
    l0_thresholds: Sequence[float] = (0.1, 0.5),
    dead_threshold: float = 0.1,
    constant_std: float = 0.01,
) -> SparsityStatistics:
    accumulator = SparsityAccumulator(
        l0_thresholds=l0_thresholds, dead_threshold=dead_threshold, constant_std=constant_std
    )
    for piece in pieces:
        accumulator.update(piece)
    return accumulator.statistics()


def codes(*rows: Sequence[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("cut", [0, 1, 60, 100])
def test_added_accumulators_equal_the_whole(cut: int) -> None:
    """Of means far from zero, and far from each other, in which a small variance could drown."""
    code = torch.rand(100, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    code[:60] += 1000
    settings = {"l0_thresholds": (0.1, 0.5), "dead_threshold": 0.1, "constant_std": 0.01}
    whole, first, second = (SparsityAccumulator(**settings) for _ in range(3))
    whole.update(code)
    for part, taker in ((code[:cut], first), (code[cut:], second)):
        if len(part):
            taker.update(part)
    found, expected = first.add(second).on_cpu().statistics(), whole.statistics()
    torch.testing.assert_close(found.mean_activity, expected.mean_activity, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.std_activity, expected.std_activity, rtol=1e-9, atol=0)
    assert found.as_metrics(0.1) == pytest.approx(expected.as_metrics(0.1), rel=1e-12)
    for threshold, counts in expected.l0_counts.items():
        assert torch.equal(found.l0_counts[threshold], counts)
        assert torch.equal(found.firing_rates[threshold], expected.firing_rates[threshold])


@pytest.mark.parametrize(
    ("code", "expected_gini", "expected_hoyer", "expected_treves_rolls"),
    [
        # Even, one active unit, none.
        ([2, 2, 2, 2], 0, 0, 1),
        ([0, 0, 3, 0], 1 - 1 / 4, 1, 1 / 4),
        ([0, 0, 0, 0], 0, 0, 1),
        # Shares 1/4, 3/4: 1 - 2 (1/4 * 3/4 + 3/4 * 1/4); |a|_1 = 4, |a|_2 = sqrt 10; 2^2 / 5.
        ([1, 3], 1 / 4, (math.sqrt(2) - 4 / math.sqrt(10)) / (math.sqrt(2) - 1), 4 / 5),
        # Shares 0, 1/4, 3/4: 1 - 2 (1/4 * 1/2 + 3/4 * 1/6); (4/3)^2 / (10/3).
        ([3, 0, 1], 1 / 2, (math.sqrt(3) - 4 / math.sqrt(10)) / (math.sqrt(3) - 1), 8 / 15),
        # Two of four: |a|_1 / |a|_2 = sqrt 2; (1/2)^2 / (1/2).
        ([1, 0, 0, 1], 1 / 2, 2 - math.sqrt(2), 1 / 2),
        ([5], 0, 0, 1),
        ([0], 0, 0, 1),
    ],
)
def test_measures_of_a_code_by_hand(
    code: list[float],
    expected_gini: float,
    expected_hoyer: float,
    expected_treves_rolls: float,
) -> None:
    a = codes(code)
    assert gini(a).item() == pytest.approx(expected_gini, abs=1e-14)
    assert hoyer(a).item() == pytest.approx(expected_hoyer, abs=1e-14)
    assert treves_rolls(a).item() == pytest.approx(expected_treves_rolls, abs=1e-14)


@pytest.mark.parametrize("measure", [gini, hoyer, treves_rolls])
def test_measures_ignore_scale_and_order_of_units(measure: object) -> None:
    assert callable(measure)
    a = torch.rand(30, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(measure(1e-3 * a[:, order]), measure(a), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("units", [2, 5, 64])
def test_measures_at_their_extremes(units: int) -> None:
    one_hot, even = torch.eye(units, dtype=torch.float64), codes([0.3] * units)
    np.testing.assert_allclose(gini(one_hot), 1 - 1 / units, rtol=1e-14)
    np.testing.assert_allclose(hoyer(one_hot), 1, rtol=1e-14)
    np.testing.assert_allclose(treves_rolls(one_hot), 1 / units, rtol=1e-14)
    assert gini(even).item() == pytest.approx(0, abs=1e-14)
    assert hoyer(even).item() == pytest.approx(0, abs=1e-14)
    assert treves_rolls(even).item() == pytest.approx(1, rel=1e-14)


# Units: dead; dead and constant; constant; saturated; saturated and constant; none of them.
BY_HAND = codes(
    [0.00, 0.05, 0.5, 0.90, 1.0, 0.2],
    [0.10, 0.05, 0.5, 1.00, 1.0, 0.6],
    [0.05, 0.05, 0.5, 0.95, 1.0, 1.0],
)


def test_statistics_of_a_split_by_hand() -> None:
    found = statistics(BY_HAND)
    assert found.mean_activity.tolist() == pytest.approx([0.05, 0.05, 0.5, 0.95, 1, 0.6])
    # Of the population: the mean of the squared distances, (0.05^2 + 0.05^2) / 3 for the first.
    expected_std = [math.sqrt(0.005 / 3), 0, 0, math.sqrt(0.005 / 3), 0, math.sqrt(0.32 / 3)]
    assert found.std_activity.tolist() == pytest.approx(expected_std, abs=1e-9)
    assert (found.dead, found.constant, found.saturated) == (2, 3, 2)
    # Above 0.1 are four units each time; above 0.5 two, then three twice.
    assert found.l0 == {0.1: 4, 0.5: pytest.approx(8 / 3)}
    assert found.l0_counts[0.1].tolist() == [0, 0, 0, 0, 3, 0, 0]
    assert found.l0_counts[0.5].tolist() == [0, 0, 1, 2, 0, 0, 0]


def test_measures_of_a_split_are_means_over_samples() -> None:
    found = statistics(codes([1, 3], [0, 5], [2, 2], [0, 0]))
    one = (math.sqrt(2) - 4 / math.sqrt(10)) / (math.sqrt(2) - 1)
    assert found.gini == pytest.approx((1 / 4 + 1 / 2 + 0 + 0) / 4)
    assert found.hoyer == pytest.approx((one + 1 + 0 + 0) / 4)
    assert found.treves_rolls == pytest.approx((4 / 5 + 1 / 2 + 1 + 1) / 4)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[0.0, 0.0], [0.0, 0.0]], (2, 2, 0)),
        ([[1.0, 1.0], [1.0, 1.0]], (0, 2, 2)),
        ([[0.0, 1.0], [1.0, 0.0]], (0, 0, 0)),
        ([[0.5, 0.5]], (0, 2, 0)),
    ],
)
def test_dead_constant_and_saturated_are_counted_apart(
    rows: list[list[float]], expected: tuple[int, int, int]
) -> None:
    found = statistics(codes(*rows))
    assert (found.dead, found.constant, found.saturated) == expected


def test_thresholds_of_dead_and_constant_units() -> None:
    a = codes([0.0, 0.4], [0.3, 0.8])
    found = statistics(a, dead_threshold=0.3, constant_std=0.16)
    # Standard deviations 0.15 and 0.2.
    assert (found.dead, found.constant, found.saturated) == (1, 1, 0)
    found = statistics(a, dead_threshold=0.29, constant_std=0.21)
    assert (found.dead, found.constant, found.saturated) == (0, 2, 0)
    found = statistics(a, dead_threshold=0.6, constant_std=0.15)
    assert (found.dead, found.constant, found.saturated) == (1, 0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7])
def test_activity_at_the_threshold_is_not_active(threshold: float, dtype: torch.dtype) -> None:
    at = torch.tensor(threshold, dtype=dtype)
    above = torch.nextafter(at, torch.ones_like(at))
    found = statistics(torch.stack([at, at, above])[None], l0_thresholds=(threshold,))
    assert found.l0 == {threshold: 1}
    assert found.l0_counts[threshold].tolist() == [0, 1, 0, 0]


def random_code(samples: int = 137, units: int = 9) -> NDArray[np.float64]:
    random = np.random.default_rng(0)
    code = random.beta(0.3, 1.5, size=(samples, units))
    code[random.random(code.shape) < 0.3] = 0
    code[5] = 0
    return code


def naive_gini(sample: NDArray[np.float64]) -> float:
    """Half the relative mean absolute difference."""
    if not sample.any():
        return 0.0
    return float(np.abs(sample[:, None] - sample).mean() / (2 * sample.mean()))


@pytest.mark.parametrize("sizes", [(137,), (1, 36, 100), (100, 36, 1), (1,) * 137], ids=len)
def test_pieces_equal_naive_sums_over_the_whole(sizes: tuple[int, ...]) -> None:
    code = random_code()
    found = statistics(*torch.from_numpy(code).split(sizes), dead_threshold=0.85)
    units = code.shape[1]
    np.testing.assert_allclose(found.mean_activity, code.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.std_activity, code.std(0), rtol=1e-12)
    for threshold in (0.1, 0.5):
        active = (code > threshold).sum(1)
        assert found.l0[threshold] == pytest.approx(active.mean(), rel=1e-12)
        counts = np.bincount(active, minlength=units + 1)
        assert found.l0_counts[threshold].tolist() == counts.tolist()
    assert found.gini == pytest.approx(np.mean([naive_gini(s) for s in code]), rel=1e-12)
    live = code[code.any(1)]
    ratios = live.sum(1) / np.sqrt((live**2).sum(1))
    expected_hoyer = ((np.sqrt(units) - ratios) / (np.sqrt(units) - 1)).sum() / len(code)
    assert found.hoyer == pytest.approx(expected_hoyer, rel=1e-12)
    ratios = live.mean(1) ** 2 / (live**2).mean(1)
    inactive = len(code) - len(live)
    assert inactive > 0
    assert found.treves_rolls == pytest.approx((ratios.sum() + inactive) / len(code), rel=1e-12)
    assert found.dead == (code.max(0) <= 0.85).sum()


def test_statistics_between_two_updates() -> None:
    first, second = torch.from_numpy(random_code()).split([50, 87])
    accumulator = SparsityAccumulator(l0_thresholds=(0.1,), dead_threshold=0.1, constant_std=0.01)
    accumulator.update(first)
    early = accumulator.statistics().as_metrics(0.05)
    assert early == statistics(first, l0_thresholds=(0.1,)).as_metrics(0.05)
    accumulator.update(second)
    late = accumulator.statistics().as_metrics(0.05)
    assert late == statistics(first, second, l0_thresholds=(0.1,)).as_metrics(0.05)


@pytest.mark.parametrize("large", [0.9, 1.9, 1234.5678])
def test_tiny_variance_on_a_large_mean(large: float) -> None:
    # One of three samples is float32's next number: the variance is 2/9 of the step's square.
    low = torch.tensor(large)
    high = torch.nextafter(low, torch.tensor(torch.inf))
    pieces = [torch.stack([low, high, low])[:, None]] * 500
    found = statistics(*pieces, constant_std=0)
    expected = (high.double() - low.double()).item() * math.sqrt(2) / 3
    assert found.std_activity.item() == pytest.approx(expected, rel=1e-9, abs=0)
    # Sums of squares about zero would not see it, even in float64.
    whole = torch.cat(pieces).double()
    naive = whole.square().mean() - whole.mean().square()
    assert naive.item() != pytest.approx(expected**2, rel=1e-3, abs=0)


def test_statistics_without_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        statistics()


NAMES = [
    *("rho_target", "rho_hat_mean", "rho_hat_min", "rho_hat_max", "rho_hat_distance"),
    *("l0_at_0.1", "l0_at_0.5"),
    *("gini", "hoyer", "treves_rolls", "dead_units", "constant_units", "saturated_units"),
    "rare_units",
]


def test_metrics_by_name() -> None:
    found = statistics(BY_HAND)
    metrics = found.as_metrics(0.5)
    assert list(metrics) == NAMES
    assert metrics["rho_target"] == 0.5
    assert metrics["rho_hat_mean"] == pytest.approx((0.05 + 0.05 + 0.5 + 0.95 + 1 + 0.6) / 6)
    assert metrics["rho_hat_min"] == pytest.approx(0.05)
    assert metrics["rho_hat_max"] == pytest.approx(1)
    distances = (0.45, 0.45, 0, 0.45, 0.5, 0.1)
    assert metrics["rho_hat_distance"] == pytest.approx(sum(distances) / 6)
    assert metrics["l0_at_0.1"] == 4
    assert metrics["l0_at_0.5"] == pytest.approx(8 / 3)
    assert (metrics["gini"], metrics["hoyer"]) == (found.gini, found.hoyer)
    assert metrics["treves_rolls"] == found.treves_rolls
    assert (metrics["dead_units"], metrics["constant_units"]) == (2, 3)
    assert metrics["saturated_units"] == 2
    assert metrics["rare_units"] == 2


def test_firing_rates_are_shares_of_samples() -> None:
    code = torch.zeros(2000, 4, dtype=torch.float64)
    code[:2, 1], code[:3, 2], code[:, 3] = 0.2, 0.2, 1
    found = statistics(code[:700], code[700:])
    assert found.firing_rates[0.1].tolist() == [0, 0.001, 0.0015, 1]
    assert found.firing_rates[0.5].tolist() == [0, 0, 0, 1]
    # One in a thousand is rare, one and a half are not; the one that never fires is dead as well.
    assert (found.rare, found.dead) == (2, 1)


def test_metrics_without_a_target() -> None:
    names = list(statistics(BY_HAND).as_metrics(None))
    assert names == [name for name in NAMES if name not in ("rho_target", "rho_hat_distance")]
