"""Rate and distortion: how many bits an image costs as a code, as PCA coefficients, as a JPEG.

A representation is quantised uniformly: a feature a becomes the symbol s = round(a / step), held
within the range that the training images span, and is decoded from step * s. Its rate is what an
ideal entropy coder spends that knows only the training images: for every feature alone,

    - mean over test images of log2 (n(s) + 1) / (N + S),

n(s) of N training images having the symbol s, of S possible ones (Laplace's rule), summed over
features. Distortion is the test MSE of the decoded images, clipped to [0, 1]. JPEG's rate is that
of the entropy-coded scan alone.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rhobeta.metrics.moments import mean_and_spread, mean_square

# Steps in standard deviations of the representation, and JPEG's qualities, coarse to fine.
STEPS = tuple(2.0 ** (half / 2) for half in range(6, -7, -1))
QUALITIES = (1, 3, 5, 10, 20, 40, 60, 80, 95)
JPEG_IMAGES = 1000
# How much of the MSE quantisation may add at the operating point.
TOLERATED = 1.05

# Images that are decoded at a time: the memory that they take should be used again.
_PIECE = 1024

Decode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A representation ([images, features]) to images ([images, pixels])."""


class RatePoint(NamedTuple):
    """One setting of a coder."""

    bits: float
    """Mean bits of a test image."""
    mse: float
    """Mean squared error over test images and pixels."""


def quantised_curve(
    train: NDArray[np.float32],
    test: NDArray[np.float32],
    decode: Decode,
    pixels: NDArray[np.float32],
) -> list[RatePoint]:
    """Rate and distortion of a representation, one point a step, coarsest first.

    `train` and `test` are [images, features], `pixels` the test images ([images, pixels] in
    [0, 1]). Steps are 8 to 1/8 times the root mean square of the centred training features, a
    factor of sqrt 2 apart.
    """
    _, spread = mean_and_spread(train)
    # A feature after the other, each in one piece of memory that fits the cache.
    of_train, of_test = (np.ascontiguousarray(values.T) for values in (train, test))
    points = []
    for relative in STEPS:
        step = np.float32(relative * spread)
        bits, decoded = 0.0, np.empty_like(of_test)
        for feature, (known, values) in enumerate(zip(of_train, of_test, strict=True)):
            seen, symbols = quantised(known, values, step)
            bits += cross_entropy(seen, symbols)
            decoded[feature] = symbols * step
        points.append(RatePoint(bits, decoded_mse(decoded.T, decode, pixels)))
    return points


def decoded_mse(code: NDArray[np.float32], decode: Decode, pixels: NDArray[np.float32]) -> float:
    """MSE of the images decoded from a representation, clipped to [0, 1], against `pixels`."""
    error = 0.0
    for start in range(0, len(code), _PIECE):
        piece = slice(start, start + _PIECE)
        images = decode(np.ascontiguousarray(code[piece])).clip(0, 1)
        error += float(np.square(images - pixels[piece]).sum(dtype=np.float64))
    return error / pixels.size


def quantised(
    train: NDArray[np.float32], test: NDArray[np.float32], step: np.float32
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Symbols of one feature (shapes: [images]), the test's held within the range of train's."""
    seen, symbols = (np.rint(values / step).astype(np.int64) for values in (train, test))
    return seen, symbols.clip(seen.min(), seen.max())


def cross_entropy(seen: NDArray[np.int64], symbols: NDArray[np.int64]) -> float:
    """Mean bits of `symbols` under the smoothed frequencies of `seen` (shapes: [images]).

    `symbols` lie in the range of `seen`, all of which is the alphabet.
    """
    lowest = seen.min()
    counts = np.bincount(seen - lowest) + 1
    frequencies = np.bincount(symbols - lowest, minlength=len(counts))
    bits = math.log2(counts.sum()) - np.log2(counts)
    return float(frequencies @ bits) / len(symbols)


def jpeg_curve(
    pixels: NDArray[np.float32], shape: tuple[int, int], *, seed: int
) -> list[RatePoint]:
    """Rate and distortion of grey baseline JPEG, one point a quality, coarsest first.

    Of test images ([images, pixels] in [0, 1], multiples of 1/255), or of 1,000 that `seed` draws.
    The rate is the bytes between the header of the scan and the end-of-image marker. What lies
    before them is the same in every file (the standard's own Huffman tables, and quantisation
    tables that the quality fixes), so a decoder may know it.
    """
    if len(pixels) > JPEG_IMAGES:
        rows = np.random.default_rng(seed).choice(len(pixels), JPEG_IMAGES, replace=False)
        pixels = pixels[np.sort(rows)]
    images = np.rint(pixels * 255).astype(np.uint8).reshape(-1, *shape)
    return [_jpeg_point(images, pixels, quality) for quality in QUALITIES]


def _jpeg_point(images: NDArray[np.uint8], pixels: NDArray[np.float32], quality: int) -> RatePoint:
    from PIL import Image

    size, decoded = 0, np.empty_like(pixels)
    for row, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="JPEG", quality=quality)
        size += scan_bytes(file.getvalue())
        decoded[row] = np.asarray(Image.open(file), np.float32).ravel() / 255
    return RatePoint(8 * size / len(images), mean_square(pixels - decoded))


def scan_bytes(file: bytes) -> int:
    """Length of a baseline JPEG's entropy-coded data, in bytes."""
    start_of_image, start_of_scan, end_of_image = 2, 0xDA, 2
    position = start_of_image
    while True:
        marker, length = file[position + 1], int.from_bytes(file[position + 2 : position + 4])
        position += 2 + length
        if marker == start_of_scan:
            return len(file) - position - end_of_image


def operating_point(curve: Sequence[RatePoint], unquantised_mse: float) -> RatePoint:
    """The point of fewest bits whose MSE is at most 5 % above `unquantised_mse`.

    The point of least MSE where none is that good.
    """
    good = [point for point in curve if point.mse <= TOLERATED * unquantised_mse]
    return min(good) if good else min(curve, key=lambda point: point.mse)


def bits_for(curve: Sequence[RatePoint], mse: float) -> float | None:
    """Bits that a coder needs for an MSE: linear in log MSE between the best points of its curve.

    A point is among the best if none with as few bits has as low an MSE. None where the curve
    does not come down to `mse`; its fewest bits where all of it is lower.
    """
    best: list[RatePoint] = []
    for point in sorted(curve):
        if not best or point.mse < best[-1].mse:
            best.append(point)
    if best[-1].mse > mse:
        return None
    tiny = np.finfo(np.float64).tiny
    logs = [-math.log(max(point.mse, tiny)) for point in best]
    return float(np.interp(-math.log(max(mse, tiny)), logs, [point.bits for point in best]))
