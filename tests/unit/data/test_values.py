"""What arrays of any type and shape mean as grey levels and labels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rhobeta.data.numpy_files import open_array
from rhobeta.data.values import image_pieces, label_values
from rhobeta.errors import RhobetaError

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 255])


def grey(folder: Path, array: Any) -> np.ndarray:
    np.save(folder / "a.npy", array)
    with open_array(folder / "a.npy") as stored:
        return np.concatenate(list(image_pieces(stored, "it")))


def labels(folder: Path, array: Any) -> np.ndarray:
    np.save(folder / "a.npy", array)
    with open_array(folder / "a.npy") as stored:
        return label_values(stored, "it")


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "<u8", ">i8"])
def test_integers_that_are_bytes_in_value_are_taken(tmp_path: Path, dtype: str) -> None:
    found = grey(tmp_path, IMAGES.astype(dtype))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, IMAGES)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_values_are_read_in_pieces(tmp_path: Path, monkeypatch, rows: int) -> None:
    monkeypatch.setattr("rhobeta.data.values._PIECE_BYTES", 24 * rows)
    np.testing.assert_array_equal(grey(tmp_path, IMAGES.astype(np.int16)), IMAGES)


@pytest.mark.parametrize(
    "array", [IMAGES[..., None], IMAGES[:, None], np.asfortranarray(IMAGES), IMAGES[::-1][::-1]]
)
def test_images_in_another_layout_are_the_same(tmp_path: Path, array: np.ndarray) -> None:
    np.testing.assert_array_equal(grey(tmp_path, array), IMAGES)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[[-1, 255]]]), "it holds integers from -1 to 255; expected 0 to 255"),
        (np.array([[[0, 256]]]), "from 0 to 256"),
        (np.array([[[0, 65535]]], np.uint16), r"from 0 to 65535; .*\n.*images // 257"),
        (IMAGES / 255, r"float64 from 0.* to 0.*; expected bytes .*\n.*images \* 255\).round"),
        (IMAGES.astype(np.float32), r"float32 from .*; expected bytes .*\n.*images.round"),
        (IMAGES / 127.5 - 1, r"float64 from -0.9.* to 0.9.*; .*\n.*Scale them to 0 to 255 first"),
        (np.full((2, 2, 2), np.nan), r"float64 from nan to nan; .*\n.*Some are NaN"),
        (IMAGES > 9, r"it holds bool; expected bytes .*\n.*np.uint8\(255\)"),
        (IMAGES.astype(complex), "it holds complex128; expected bytes"),
        (IMAGES.astype("U3"), "it holds <U3; expected bytes"),
        (IMAGES.astype("datetime64[s]"), "it holds datetime64"),
        (IMAGES[:0], r"has the shape \(0, 4, 3\); .*at least one.\n.*empty arrays"),
        (IMAGES[:, :0], "at least one"),
        (IMAGES[0, 0], r"has the shape \(3,\)"),
        (np.zeros((6, 4, 3, 4), np.uint8), r"\n.*images\[..., :3\]"),
        (np.zeros((6, 4, 3, 7), np.uint8), r"\n.*images\[:, :3\]"),
        (np.zeros((6, 4, 3, 3, 2), np.uint8), "has the shape"),
        (np.uint8(3), r"has the shape \(\)"),
    ],
)
def test_images_that_are_none_are_refused(tmp_path: Path, array: Any, reason: str) -> None:
    with pytest.raises(RhobetaError, match=rf"^it .*{reason.removeprefix('it ')}"):
        grey(tmp_path, array)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64, ">u2"])
def test_whole_numbers_of_any_type_are_labels(tmp_path: Path, dtype: Any) -> None:
    for array in (LABELS, LABELS[:, None], LABELS[None]):
        found = labels(tmp_path, array.astype(dtype))
        np.testing.assert_array_equal(found, LABELS)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (LABELS / 2, r"it holds float64 such as '0.5' in row 1 .*\n.*data.labels to false"),
        (np.full(3, np.nan), "such as 'nan'"),
        (np.full(3, np.inf), "such as 'inf'"),
        (np.eye(6, 3), r"it has the shape \(6, 3\); expected one label an image.*\n.*argmax"),
        (IMAGES, r"has the shape \(6, 4, 3\)"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, array: Any, reason: str) -> None:
    with pytest.raises(RhobetaError, match=rf"^it .*{reason.removeprefix('it ')}"):
        labels(tmp_path, array)
