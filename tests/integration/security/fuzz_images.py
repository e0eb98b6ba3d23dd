"""Inputs for the readers of the user's own images, arrays and pictures, and what is right of them.

Each gives all batches of a file, or the refusal; a refusal may come with a late batch.
"""

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import damaged
from numpy.typing import NDArray
from PIL import Image

from rhobeta.serving.image_files import open_images

SHAPE = (4, 3)
_COUNT, _BATCH = 12, 5
_NUMBERS = np.random.default_rng(0)
_IMAGES = _NUMBERS.integers(0, 256, (_COUNT, *SHAPE), dtype=np.uint8)
_ARRAYS: tuple[NDArray[Any], ...] = (
    _IMAGES,
    _IMAGES.reshape(_COUNT, -1),
    _IMAGES.astype(">i8"),
    (_IMAGES / 255).astype("<f4"),
    _IMAGES.astype(np.float16) / 255,
    np.asfortranarray(_IMAGES),
    _IMAGES.astype("<u2") * 4,
    _IMAGES.astype(complex),
)
_DTYPES = ("|u1", "|b1", "|O", "<f8", ">f2", "<c8", "<U9", "<M8[ns]", "|V0", "<U2000000000")
_COUNTS = (-(2**62), -1, 0, 1, _COUNT, _COUNT + 1, 2**31, 2**62, 10**30, "True", "None", "1.0")
_SAVED = (
    ("PNG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("PPM", {}), ("JPEG", {}),
    ("WEBP", {"lossless": True}),
)  # fmt: skip
_MODES = ("L", "L", "L", "RGB", "RGBA", "1", "P", "I;16", "LA")


def _npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def npy_input(chance: random.Random) -> bytes:
    """An array file: right, of another kind, damaged, or under a header that was made up."""
    way = chance.random()
    if way < 0.15:
        return _npy(chance.choice(_ARRAYS))
    if way < 0.6:
        return damaged(_npy(chance.choice(_ARRAYS)), chance)
    rest = chance.choice(("4, 3", "12", "3, 4", "-4, -3", "4, 3, 1", ""))
    header = (
        f"{{'descr': '{chance.choice(_DTYPES)}', 'fortran_order': {chance.choice((True, False))},"
        f" 'shape': ({chance.choice(_COUNTS)}, {rest})}}\n"
    ).encode()
    version = chance.choice((1, 2, 2, 3))
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes((version, 0)) + length + header + _IMAGES.tobytes()


def npz_input(chance: random.Random) -> bytes:
    """The same inside an archive, which may be damaged too."""
    file = io.BytesIO()
    name = chance.choice((*["images.npy"] * 8, "images", "x.npy"))
    with zipfile.ZipFile(file, "w", chance.choice((0, 8, 12, 14))) as archive:
        archive.writestr(name, npy_input(chance))
        if chance.random() < 0.2:
            archive.writestr(chance.choice(("labels.npy", "../images.npy", "x" * 500)), b"text")
    return file.getvalue() if chance.random() < 0.5 else damaged(file.getvalue(), chance)


def picture_input(chance: random.Random) -> bytes:
    """A picture of some mode and format, of the right size or another, or a damaged one."""
    size = chance.choice((SHAPE, SHAPE, SHAPE, (3, 4), (1, 1), (40, 3)))
    values = np.resize(_IMAGES, size)
    wanted = chance.choice(_MODES)
    picture = Image.fromarray(values)
    picture = (
        Image.fromarray(values.astype(np.uint16) * 257)
        if wanted == "I;16"
        else picture.convert(wanted)
    )
    format_, options = chance.choice(_SAVED)
    file = io.BytesIO()
    try:
        picture.save(file, format_, **options)
    except (OSError, ValueError):
        # This format has no such mode.
        Image.fromarray(values).save(file, format_, **options)
    return file.getvalue() if chance.random() < 0.3 else damaged(file.getvalue(), chance)


def batches_of(folder: Path, suffix: str) -> Callable[[bytes], Any]:
    """Reads an input as a file of this kind: how many images it declares, and all batches."""
    folder.mkdir()
    file = folder / f"mine{suffix}"

    def read(content: bytes) -> Any:
        file.write_bytes(content)
        found = open_images(file, SHAPE)
        return found.count, list(found.batches(_BATCH))

    return read


def _check_batches(found: Any) -> NDArray[np.float32]:
    count, batches = found
    assert count > 0
    whole, rest = divmod(count, _BATCH)
    assert [len(batch) for batch in batches] == [_BATCH] * whole + [rest] * bool(rest)
    values: NDArray[np.float32] = np.concatenate(batches)
    assert (values.dtype, values.shape) == (np.float32, (count, SHAPE[0] * SHAPE[1]))
    assert values.min() >= 0
    assert values.max() <= 1
    return values


def _expected(values: NDArray[Any]) -> NDArray[np.float32]:
    rows = values.reshape(len(values), -1)
    if rows.dtype.kind in "ui":
        return (rows / np.float32(255)).astype(np.float32)
    return rows.astype(np.float32)


def check_npy(content: bytes, found: Any) -> None:
    """Fails unless the batches are the array that numpy reads."""
    values = np.load(io.BytesIO(content), allow_pickle=False)
    np.testing.assert_allclose(_check_batches(found), _expected(values), rtol=0, atol=1e-7)


def check_npz(content: bytes, found: Any) -> None:
    """Fails unless the batches are the array `images` that numpy reads."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        expected = _expected(archive["images"])
    np.testing.assert_allclose(_check_batches(found), expected, rtol=0, atol=1e-7)


def check_picture(content: bytes, found: Any) -> None:
    """Fails unless the batch is the picture's grey levels, as Pillow has them."""
    values = _check_batches(found)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == SHAPE[::-1]
        deep = picture.mode in ("I", "F") or picture.mode.startswith("I;16")
        grey = np.asarray(picture) / 65535 if deep else np.asarray(picture.convert("L")) / 255
        if picture.has_transparency_data:
            # Pillow lets go of what is fully opaque by another way, within a grey level.
            grey = np.asarray(picture.convert("RGBA").convert("RGB").convert("L")) / 255
    np.testing.assert_allclose(values, grey.reshape(1, -1), rtol=0, atol=1e-6)
