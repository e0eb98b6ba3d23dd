"""Vectors, tables and pictures of the user: what each input becomes, and which are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from PIL import Image
from safetensors.numpy import save_file

from helpers.own import read_own
from rhobeta.data.numpy_files import open_array
from rhobeta.errors import RhobetaError

X = np.random.default_rng(0).normal(3, 1, (12, 4))
Y = np.arange(12) % 3
NAMES = np.array(["cat", "dog", "owl"])
RGB = np.random.default_rng(1).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def refusal(own: Path, **options: Any) -> str:
    with pytest.raises(RhobetaError) as caught:
        read_own(own, **options)
    return str(caught.value)


# Vectors


@pytest.mark.parametrize(
    ("dtype", "becomes"),
    [("f2", "f2"), ("f4", "f4"), ("f8", "f4"), (">f4", "f4"), ("i8", "f4"), ("u1", "f4")],
)
@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors"])
def test_vectors_of_every_type_are_read(own: Path, dtype: str, becomes: str, ending: str) -> None:
    values = np.abs(X).astype(dtype)
    if ending == "safetensors":
        save_file({"any": values.astype(values.dtype.newbyteorder("="))}, own / "a.safetensors")
    else:
        (np.save if ending == "npy" else np.savez)(own / f"layer12.{ending}", values)
    found, notes = read_own(own)
    assert found.train.values.dtype == becomes
    np.testing.assert_array_equal(found.train.values, values.astype(becomes))
    assert (found.train.labels, found.test, found.class_names) == (None, None, None)
    assert "12 vectors of 4 features" in notes[0]
    assert notes[-1] == "no labels"


def test_reader_says_what_it_found(own: Path) -> None:
    values = np.array([[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]], np.float32)
    np.save(own / "x.npy", values)
    # |(3, 7)| / sqrt(8/3)
    assert read_own(own)[1] == [
        "x.npy: 3 vectors of 2 features, float32 from 1 to 7, none missing, mean over standard"
        " deviation 4.66",
        "columns that never change, counted from 0: 1",
        "no labels",
    ]


def test_columns_of_far_apart_spreads_are_noted(own: Path) -> None:
    np.save(own / "x.npy", X * [1, 1, 1, 1000])
    assert "squared error hardly sees the small ones" in read_own(own)[1][1]
    np.save(own / "x.npy", X * [1, 1, 1, 10])
    assert read_own(own)[1][1:] == ["no labels"]


def test_bfloat16_becomes_float32_and_columns_by_memory_are_rows(own: Path) -> None:
    tensor = torch.tensor(X).bfloat16()
    tensors = {"activations": tensor, "labels": torch.tensor(Y)}
    safetensors.torch.save_file(tensors, own / "a.safetensors")
    found, _ = read_own(own)
    np.testing.assert_array_equal(found.train.values, tensor.float().numpy())
    np.testing.assert_array_equal(found.train.labels, Y)
    (own / "a.safetensors").unlink()
    np.save(own / "x.npy", np.asfortranarray(X))
    # Mapped, so that it may be larger than memory.
    with open_array(own / "x.npy") as stored:
        pieces = list(stored.pieces(5))
        assert [(len(piece), isinstance(piece, np.memmap)) for piece in pieces] == [
            (5, True),
            (5, True),
            (2, True),
        ]
    np.testing.assert_array_equal(read_own(own)[0].train.values, X.astype(np.float32))
    (own / "x.npy").unlink()
    np.savez(own / "x.npz", x=np.asfortranarray(X))
    np.testing.assert_array_equal(read_own(own)[0].train.values, X.astype(np.float32))


@pytest.mark.parametrize("rows", [1, 5])
def test_parts_are_joined_in_the_order_of_names(own: Path, monkeypatch, rows: int) -> None:
    monkeypatch.setattr("rhobeta.data.values._PIECE_BYTES", rows * X[0].nbytes)
    for number in (2, 0, 1):
        np.save(own / f"part-{number:03}.npy", X[4 * number : 4 * number + 4])
    np.save(own / "test-000.npy", X[:3])
    np.save(own / "labels.npy", NAMES[Y])
    np.save(own / "test_labels.npy", NAMES[Y[:3]])
    found, notes = read_own(own)
    np.testing.assert_array_equal(found.train.values, X.astype(np.float32))
    np.testing.assert_array_equal(found.test.values, X[:3].astype(np.float32))
    np.testing.assert_array_equal(found.train.labels, Y)
    assert found.class_names == ["cat", "dog", "owl"]
    assert notes[0].startswith("part-000.npy to part-002.npy (3 parts): 12 vectors")


def test_several_npz_files_are_joined(own: Path) -> None:
    for number in range(3):
        rows = slice(4 * number, 4 * number + 4)
        np.savez(own / f"{number}.npz", x=X[rows], y=Y[rows])
    found, _ = read_own(own)
    np.testing.assert_array_equal(found.train.values, X.astype(np.float32))
    np.testing.assert_array_equal(found.train.labels, Y)


def with_value(value: float) -> np.ndarray:
    changed = X.copy()
    changed[7, 3] = changed[8, 0] = value
    return changed


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (with_value(np.nan), r"x.npy holds nan in row 7, column 3 .* 2 values of 12 rows"),
        (with_value(-np.inf), "holds -inf in row 7, column 3"),
        (with_value(1e300), "1e\\+300 in row 7, column 3 .*too large for float32"),
        (X[:1], "holds one row"),
        (X[:0], r"has the shape \(0, 4\); .*at least one"),
        (X[0], r"has the shape \(4,\)"),
        (X[:, None], r"float64 from .*\n.*\n.*values.reshape\(-1, 4\)"),
        (X.astype("U9"), "expected numbers"),
        (X.astype(object), "holds Python objects, which are not loaded"),
    ],
)
def test_vectors_that_are_none_are_refused(own: Path, values: np.ndarray, reason: str) -> None:
    np.save(own / "x.npy", values)
    with pytest.raises(RhobetaError, match=reason):
        read_own(own)


def test_parts_of_several_shapes_are_refused(own: Path) -> None:
    np.save(own / "part-0.npy", X)
    np.save(own / "part-1.npy", X[:, :3])
    fault = refusal(own)
    assert "part-0.npy holds vectors of 4 features but" in fault
    assert "part-1.npy vectors of 3 features" in fault


def test_rows_that_may_be_images_are_noted(own: Path) -> None:
    np.save(own / "x.npy", np.eye(784, dtype=np.uint8)[:9] * 255)
    assert "values.reshape(-1, 28, 28)" in read_own(own)[1][2]


# Labels


@pytest.mark.parametrize(
    ("labels", "codes", "names"),
    [
        (Y, Y, None),
        (Y * 1000 - 1000, Y, ["-1000", "0", "1000"]),
        (NAMES[Y], Y, ["cat", "dog", "owl"]),
        (NAMES[Y].astype("S"), Y, ["cat", "dog", "owl"]),
        (Y.astype("U"), Y, None),
        (Y.astype(float), Y, None),
        (Y[:, None] > 0, Y > 0, None),
    ],
)
def test_labels_of_any_kind_become_codes(own: Path, labels, codes, names) -> None:
    np.savez(own / "mine.npz", vectors=X, target=labels)
    found, _ = read_own(own)
    np.testing.assert_array_equal(found.train.labels, codes)
    assert found.class_names == names


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (np.arange(300), "300 different labels; at most 256"),
        (np.arange(300) / 2, r"float64 such as '0.5' in row 1"),
        (np.full(300, np.nan), "such as 'nan' in row 0"),
        (np.eye(300, 3), r"labels.argmax\(1\)"),
    ],
)
def test_labels_that_are_none_are_refused_but_can_be_left_out(own, labels, reason) -> None:
    np.savez(own / "mine.npz", x=np.resize(X, (300, 4)), y=labels)
    with pytest.raises(RhobetaError, match=reason):
        read_own(own)
    assert read_own(own, labels=False)[0].train.labels is None


# Tables


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.DataFrame(X, columns=["red", "green", "blue", "depth"])


def test_columns_of_a_table_are_features_with_names(own: Path, table: pd.DataFrame) -> None:
    table.assign(Label=NAMES[Y], id=[f"row {n}" for n in range(12)]).to_parquet(own / "t.parquet")
    found, notes = read_own(own)
    np.testing.assert_array_equal(found.train.values, X.astype(np.float32))
    np.testing.assert_array_equal(found.train.labels, Y)
    assert found.class_names == ["cat", "dog", "owl"]
    assert found.feature_names == ["red", "green", "blue", "depth"]
    assert notes[0] == "columns that are not used: id"


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i4"])
def test_a_column_of_lists_is_read(own: Path, monkeypatch, dtype: str) -> None:
    monkeypatch.setattr("rhobeta.data.values._PIECE_BYTES", 100)
    values = X.astype(dtype)
    pd.DataFrame({"embedding": list(values), "target": Y}).to_parquet(own / "t.parquet")
    found, _ = read_own(own)
    assert found.train.values.dtype == ("f2" if dtype == "f2" else "f4")
    np.testing.assert_array_equal(found.train.values, values.astype(found.train.values.dtype))
    np.testing.assert_array_equal(found.train.labels, Y)
    assert found.feature_names is None


def test_tables_named_by_split_are_its_parts(own: Path, table: pd.DataFrame) -> None:
    for number in range(2):
        rows = table[6 * number : 6 * number + 6]
        rows.to_parquet(own / f"train-0000{number}-of-00002.parquet")
    for name in ("test", "validation"):
        table[:2].to_parquet(own / f"{name}-00000-of-00001.parquet")
    found, notes = read_own(own)
    assert (len(found.train), len(found.test)) == (12, 2)
    assert notes[0] == "not read: validation-00000-of-00001.parquet"


def test_faults_of_a_table_are_named(own: Path, table: pd.DataFrame) -> None:
    file = own / "t.parquet"
    table.mask(table > table.quantile(0.99)).to_parquet(file)
    assert "has no value in row" in refusal(own)
    assert "of column red" in refusal(own)
    table.assign(green=np.where(Y == 1, np.inf, 0)).to_parquet(file)
    # pandas keeps infinity; only NaN becomes a missing value.
    assert "holds inf in row 1, column 1 (green)" in refusal(own)
    pd.DataFrame({"v": [[1.0, 2.0], [3.0]]}).to_parquet(file)
    assert "lists of several lengths in column v: 1 in row 1" in refusal(own)
    pd.DataFrame({"v": [[1.0, None], [3.0, 1.0]]}).to_parquet(file)
    assert "no value in row 0, place 1 of column v" in refusal(own)
    pd.DataFrame({"name": ["a", "b"]}).to_parquet(file)
    assert "has no column of numbers, but name" in refusal(own)
    file.write_bytes(b"PAR1 but not")
    assert "is not a readable .parquet file" in refusal(own)


# Colour images and pictures


@pytest.mark.parametrize("first", [False, True])
def test_colour_arrays_have_their_channels_last(own: Path, first: bool) -> None:
    np.save(own / "images.npy", np.moveaxis(RGB, -1, 1) if first else RGB)
    found, _ = read_own(own)
    np.testing.assert_array_equal(found.train.values, RGB)
    grey = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in RGB])
    np.testing.assert_array_equal(read_own(own, color="grey")[0].train.values, grey)


def put(folder: Path, images: np.ndarray, ending: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.{ending}")


GREY = RGB[..., 0]


def test_folders_of_pictures_are_classes(own: Path) -> None:
    put(own / "dog" / "deep", GREY[:2])
    put(own / "cat", GREY[2:])
    (own / "cat" / "._0.png").write_bytes(b"\0")
    found, notes = read_own(own)
    np.testing.assert_array_equal(found.train.values, np.concatenate([GREY[2:], GREY[:2]]))
    assert found.train.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert found.class_names == ["cat", "dog"]
    assert notes[-1] == "labels of 2 classes: 0 cat, 1 dog"


def test_folders_train_and_test_are_the_splits(own: Path) -> None:
    for split, images in (("train", RGB), ("test", RGB[:2]), ("val", RGB[:1])):
        put(own / split / "cat", images)
        put(own / split / "dog", images)
    found, notes = read_own(own)
    assert (found.train.values.shape, found.test.values.shape) == ((12, 5, 4, 3), (4, 5, 4, 3))
    assert found.test.labels.tolist() == [0, 0, 1, 1]
    assert notes[0] == "not read: val"


@pytest.mark.parametrize("inside", ["", "all"])
def test_one_folder_of_pictures_has_no_labels(own: Path, inside: str) -> None:
    put(own / inside, GREY)
    found, _ = read_own(own)
    np.testing.assert_array_equal(found.train.values, GREY)
    assert found.train.labels is None


def test_labels_may_lie_beside_pictures(own: Path) -> None:
    put(own, GREY)
    np.save(own / "labels.npy", NAMES[Y[:6]])
    assert read_own(own)[0].train.labels.tolist() == Y[:6].tolist()


def test_pictures_of_several_sizes_and_colours(own: Path) -> None:
    put(own / "a", GREY)
    put(own / "b", np.moveaxis(RGB, 1, 2))
    assert "b/0.png has 4 x 5 pixels, the first picture 5 x 4; expected one" in refusal(own)
    assert "data.image_size" in refusal(own)
    found, _ = read_own(own, image_size=(3, 2))
    assert found.train.values.shape == (12, 3, 2, 3)
    assert read_own(own, image_size=(3, 2), color="grey")[0].train.values.shape == (12, 3, 2)


def test_pictures_beside_folders_and_damaged_ones_are_refused(own: Path) -> None:
    put(own / "a", GREY)
    put(own / "b", GREY)
    put(own, GREY[:1])
    assert "holds pictures (0.png) and folders of pictures (a, b)" in refusal(own)
    (own / "0.png").unlink()
    (own / "b" / "1.png").write_bytes(b"text")
    assert "b/1.png cannot be read as a picture" in refusal(own)


@pytest.mark.parametrize("options", [{"image_size": (3, 2)}, {"color": "grey"}])
def test_options_of_images_are_refused_for_vectors(own: Path, options: dict[str, Any]) -> None:
    np.save(own / "x.npy", X)
    assert "the data are vectors" in refusal(own, **options)


def test_arrays_are_not_resized(own: Path) -> None:
    np.save(own / "images.npy", RGB)
    assert "arrays are not" in refusal(own, image_size=(3, 2))
