"""Rate and distortion: Shannon's bounds, the quantiser, JPEG's scan, and points on curves."""

import io
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.baselines import PrincipalComponents
from rhobeta.metrics.downstream.compression import (
    QUALITIES,
    STEPS,
    RatePoint,
    bits_for,
    cross_entropy,
    jpeg_curve,
    operating_point,
    quantised,
    quantised_curve,
    scan_bytes,
)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_cross_entropy_of_uniform_symbols(bits: int) -> None:
    symbols = np.tile(np.arange(2**bits) - 5, 10)
    assert cross_entropy(symbols, symbols[::-1]) == pytest.approx(bits, abs=1e-12)


def test_cross_entropy_of_a_constant_is_zero() -> None:
    assert cross_entropy(np.full(9, -4), np.full(7, -4)) == 0


def test_cross_entropy_by_hand() -> None:
    # Counts 3, 0, 1 and one more each, of 7: probabilities 4/7, 1/7, 2/7.
    seen, symbols = np.array([2, 2, 4, 2]), np.array([2, 3, 4, 4])
    expected = -(math.log2(4 / 7) + math.log2(1 / 7) + 2 * math.log2(2 / 7)) / 4
    assert cross_entropy(seen, symbols) == pytest.approx(expected)


def test_cross_entropy_of_another_distribution() -> None:
    random = np.random.default_rng(0)
    seen, symbols = random.binomial(8, 0.3, 5000), random.binomial(8, 0.5, 5000).clip(0, 7)
    seen[:9] = np.arange(9)
    share = np.bincount(symbols) / 5000
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum()
    assert cross_entropy(seen, symbols) > entropy + 0.1
    assert cross_entropy(seen, seen) == pytest.approx(
        -sum(p * math.log2(p) for p in np.bincount(seen) / 5000), abs=0.01
    )


def test_quantised_symbols_stay_in_the_training_range() -> None:
    train = np.array([0.0, 0.26, 1.0], np.float32)
    test = np.array([-3.0, 0.2, 0.3, 0.6, 9.0], np.float32)
    seen, symbols = quantised(train, test, np.float32(0.5))
    assert seen.tolist() == [0, 1, 2]
    assert symbols.tolist() == [0, 0, 1, 1, 2]


def features(count: int, seed: int = 0) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return random.uniform(0, [1, 1, 0], (count, 3)).astype(np.float32)


def test_quantised_curve_of_uniform_features() -> None:
    train, test = features(4000), features(500, seed=1)
    curve = quantised_curve(train, test, lambda code: code, test)
    assert len(curve) == len(STEPS)
    bits, errors = zip(*curve, strict=True)
    # Steps of more than the spread cut a range of a few steps at this place or that.
    fine = [i for i, step in enumerate(STEPS) if step <= 1]
    assert [bits[i] for i in fine] == sorted(bits[i] for i in fine)
    assert [errors[i] for i in fine] == sorted((errors[i] for i in fine), reverse=True)
    assert errors[-1] < errors[0] / 100
    # At the finest: a uniform error in a cell, of two features of three, within their range.
    spread = math.sqrt(2 / 3 / 12)
    step = STEPS[-1] * spread
    assert errors[-1] == pytest.approx(2 / 3 * step**2 / 12, rel=0.05)
    assert bits[-1] == pytest.approx(2 * math.log2(1 / step), abs=0.1)


def test_quantised_curve_equals_the_naive_form(digits: Samples, test_digits: Samples) -> None:
    train, test = pixels_of(digits.values), pixels_of(test_digits.values)
    pca = PrincipalComponents.fit(train)
    of_train, of_test = pca.coefficients(train, 5), pca.coefficients(test, 5)
    curve = quantised_curve(of_train, of_test, pca.rebuilt, test)
    spread = np.sqrt((of_train - of_train.mean(0)).astype(np.float64).var(0).mean())
    for point, relative in list(zip(curve, STEPS, strict=True))[::4]:
        step = np.float32(relative * spread)
        bits, decoded = 0.0, np.zeros_like(of_test)
        for unit in range(5):
            seen = [round(float(v)) for v in of_train[:, unit] / step]
            for image in range(len(test)):
                symbol = round(float(of_test[image, unit] / step))
                symbol = min(max(symbol, min(seen)), max(seen))
                size = max(seen) - min(seen) + 1
                bits -= math.log2((seen.count(symbol) + 1) / (len(seen) + size)) / len(test)
                decoded[image, unit] = symbol * step
        images = pca.rebuilt(decoded)
        assert point.bits == pytest.approx(bits, rel=1e-6)
        assert point.mse == pytest.approx(np.square(images - test).mean(), rel=1e-4)


def test_quantised_curve_takes_what_is_decoded_as_it_is() -> None:
    code = features(50)
    curve = quantised_curve(code, code, lambda code: 0 * code + 7, np.full((50, 3), 5, np.float32))
    assert {point.mse for point in curve} == {4}


@pytest.mark.filterwarnings("error")
def test_quantised_curve_of_a_dead_code_costs_nothing() -> None:
    code, pixels = np.zeros((50, 4), np.float32), features(50)
    curve = quantised_curve(code, code, lambda code: np.zeros_like(pixels), pixels)
    assert {point.bits for point in curve} == {0}


@pytest.mark.parametrize("quality", [1, 50, 95])
def test_scan_bytes_are_those_behind_the_scan_header(digits: Samples, quality: int) -> None:
    for image in digits.values[:20]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=quality)
        content = file.getvalue()
        # The header of a grey scan is 8 bytes long, its length among them.
        before, scan = content.split(b"\xff\xda\x00\x08")
        assert content.endswith(b"\xff\xd9")
        assert scan_bytes(content) == len(scan) - 6 - 2
        # All before the scan is the same in every file of a quality.
        other = io.BytesIO()
        Image.fromarray(255 - image).save(other, format="JPEG", quality=quality)
        assert other.getvalue().startswith(before)


def test_jpeg_curve_of_digits(test_digits: Samples) -> None:
    pixels = pixels_of(test_digits.values)
    curve = jpeg_curve(pixels, (28, 28), seed=0)
    assert len(curve) == len(QUALITIES)
    bits, errors = zip(*curve, strict=True)
    assert list(bits) == sorted(bits)
    assert list(errors) == sorted(errors, reverse=True)
    assert 100 < bits[0] < bits[-1] < 8 * 784
    size, error = 0, 0.0
    for image in test_digits.values:
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=QUALITIES[-1])
        size += scan_bytes(file.getvalue())
        decoded = np.asarray(Image.open(file)).astype(float)
        error += np.square((decoded - image) / 255).mean()
    assert bits[-1] == 8 * size / 200
    assert errors[-1] == pytest.approx(error / 200, rel=1e-5)


def test_jpeg_curve_draws_images_by_the_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rhobeta.metrics.downstream.compression.JPEG_IMAGES", 20)
    levels = np.arange(60, dtype=np.float32)
    pixels = np.repeat(levels[:, None] / 255, 64, axis=1).astype(np.float32)
    first, again, other = (jpeg_curve(pixels, (8, 8), seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


CURVE = [RatePoint(10, 0.1), RatePoint(20, 0.01), RatePoint(25, 0.02), RatePoint(40, 0.001)]


@pytest.mark.parametrize(
    ("mse", "bits"),
    [
        (0.1, 10),
        (0.01, 20),
        (math.sqrt(0.1 * 0.01), 15),
        # Past the point of 25 bits, which is beaten by that of 20.
        (math.sqrt(0.01 * 0.001), 30),
        (0.001, 40),
        (0.5, 10),
        (0.00099, None),
    ],
)
def test_bits_for_an_error_lie_between_the_best_points(mse: float, bits: float | None) -> None:
    for curve in (CURVE, CURVE[::-1]):
        assert bits_for(curve, mse) == (None if bits is None else pytest.approx(bits))


def test_bits_for_no_error_are_finite() -> None:
    assert bits_for([RatePoint(5, 0.1), RatePoint(9, 0.0)], 0.0) == 9


def test_operating_point_adds_five_percent_at_most() -> None:
    curve = [RatePoint(5, 0.2), RatePoint(8, 0.1051), RatePoint(11, 0.1049), RatePoint(30, 0.1)]
    assert operating_point(curve, 0.1) == RatePoint(11, 0.1049)
    assert operating_point(curve[::-1], 0.1) == RatePoint(11, 0.1049)
    assert operating_point(curve, 0.01) == RatePoint(30, 0.1)


def test_jpeg_curve_of_colour_images() -> None:
    random = np.random.default_rng(0)
    # Even colours: JPEG halves the resolution of colour, not of brightness.
    images = np.repeat(random.integers(0, 256, (5, 1, 3)), 16 * 16, 1).astype(np.float32) / 255
    curve = jpeg_curve(images.reshape(5, -1), (16, 16, 3), seed=0)
    assert curve[-1].mse < 1e-4
    assert 0 < curve[0].bits < 8 * 16 * 16 * 3
