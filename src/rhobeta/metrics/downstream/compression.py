"""Rate and distortion: bits per sample as a code, as PCA coefficients and as a JPEG.

A representation is quantised uniformly: a feature a becomes the symbol s = round(a / step), clipped
to the range of the training samples, and is decoded as step * s. The rate is that of an ideal
entropy coder that knows only the training samples. It is the sum over features of

    - mean over test samples of log2 (n(s) + 1) / (N + S)

bits, where n(s) of N training samples have the symbol s, out of S possible ones (Laplace's rule of
succession). Distortion is the test MSE of what is decoded. JPEG's rate counts the entropy-coded
scan only.
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
# MSE at the operating point, at most, relative to that of the unquantised code.
TOLERATED = 1.05

# Samples decoded at a time, so that their memory is reused.
_PIECE = 1024

Decode = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Maps a representation ([samples, units]) to samples ([samples, features])."""


class RatePoint(NamedTuple):
    """One setting of a coder."""

    bits: float
    """Mean bits of a test sample."""
    mse: float
    """Mean squared error over test samples and features."""


def quantised_curve(
    train: NDArray[np.float32],
    test: NDArray[np.float32],
    decode: Decode,
    pixels: NDArray[np.float32],
) -> list[RatePoint]:
    """Rate and distortion of a representation, one point a step, coarsest first.

    `train` and `test` are [samples, units], `pixels` the test samples ([samples, features]). Steps
    are 8 to 1/8 times the root mean square of the centred training units, a factor of sqrt 2 apart.
    """
    _, spread = mean_and_spread(train)
    # One feature at a time, each contiguous and small enough for the cache.
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
    """MSE of the samples decoded from a representation against `pixels`, the originals."""
    error = 0.0
    for start in range(0, len(code), _PIECE):
        piece = slice(start, start + _PIECE)
        decoded = decode(np.ascontiguousarray(code[piece]))
        error += float(np.square(decoded - pixels[piece]).sum(dtype=np.float64))
    return error / pixels.size


def quantised(
    train: NDArray[np.float32], test: NDArray[np.float32], step: np.float32
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Symbols of one feature (shapes: [samples]), the test's clipped to the range of train's."""
    seen, symbols = (np.rint(values / step).astype(np.int64) for values in (train, test))
    return seen, symbols.clip(seen.min(), seen.max())


def cross_entropy(seen: NDArray[np.int64], symbols: NDArray[np.int64]) -> float:
    """Mean bits of `symbols` under the smoothed frequencies of `seen` (shapes: [samples]).

    The alphabet is the range of `seen`, in which `symbols` must lie.

    >>> cross_entropy(np.array([0, 1]), np.array([1, 1, 0]))
    1.0
    """
    lowest = seen.min()
    counts = np.bincount(seen - lowest) + 1
    frequencies = np.bincount(symbols - lowest, minlength=len(counts))
    bits = math.log2(counts.sum()) - np.log2(counts)
    return float(frequencies @ bits) / len(symbols)


def jpeg_curve(
    pixels: NDArray[np.float32], shape: tuple[int, ...], *, seed: int
) -> list[RatePoint]:
    """Rate and distortion of baseline JPEG, one point a quality, coarsest first.

    `shape` is that of an image, (height, width) or (height, width, 3). Measured on the test images
    ([images, pixels] in [0, 1], multiples of 1/255), or on 1,000 of them that `seed` draws. The
    rate counts the bytes between the header of the scan and the end-of-image marker. The bytes
    before them are the same in every file (the standard's Huffman tables, and quantisation tables
    that the quality fixes), so a decoder can know them.
    """
    if len(pixels) > JPEG_IMAGES:
        rows = np.random.default_rng(seed).choice(len(pixels), JPEG_IMAGES, replace=False)
        pixels = pixels[np.sort(rows, kind="stable")]
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

    Where no point is that good, the point of least MSE.
    """
    good = [point for point in curve if point.mse <= TOLERATED * unquantised_mse]
    return min(good) if good else min(curve, key=lambda point: point.mse)


def bits_for(curve: Sequence[RatePoint], mse: float) -> float | None:
    """Bits that a coder needs for an MSE: linear in log MSE between the best points of its curve.

    A point is among the best if no other has both as few bits and as low an MSE. Returns None
    where the whole curve lies above `mse`, and its fewest bits where all of it lies below.
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
