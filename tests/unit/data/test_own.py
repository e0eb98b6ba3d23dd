"""The user's own files: what is taken, and what each fault is answered with."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from rhobeta.data.idx import write_idx
from rhobeta.data.own import read_own
from rhobeta.errors import RhobetaError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
TEST_IMAGES = RANDOM.integers(0, 256, (2, 4, 3), dtype=np.uint8)
TEST_LABELS = np.array([2, 0], dtype=np.uint8)

TRAIN = {"train-images-idx3-ubyte": IMAGES, "train-labels-idx1-ubyte": LABELS}
TEST = {"t10k-images-idx3-ubyte": TEST_IMAGES, "t10k-labels-idx1-ubyte": TEST_LABELS}


def assert_read(folder, expected):
    found = read_own(folder)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == np.uint8
        np.testing.assert_array_equal(found[name], values)


def refusal(folder):
    with pytest.raises(RhobetaError) as caught:
        read_own(folder)
    return str(caught.value)


def npz(**arrays):
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "names",
    [
        ("images", "labels", "test_images", "test_labels"),
        ("x_train", "y_train", "x_test", "y_test"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_by_either_convention(tmp_path, names, save):
    arrays = (IMAGES, LABELS, TEST_IMAGES, TEST_LABELS)
    save(tmp_path / "mine.npz", **dict(zip(names, arrays, strict=True)), extra=np.zeros(2))
    assert_read(tmp_path, TRAIN | TEST)


def test_test_data_is_optional_in_an_npz(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS)
    assert_read(tmp_path, TRAIN)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("test_name", ["t10k", "test"])
@pytest.mark.parametrize("rest", ["-idx{rank}-ubyte", ""])
def test_idx_files_are_read_plain_and_gzipped(tmp_path, ending, test_name, rest):
    for name, values in (TRAIN | TEST).items():
        kind = "-".join(name.split("-")[:2]).replace("t10k", test_name)
        content = write_idx(values)
        path = tmp_path / f"{kind}{rest.format(rank=values.ndim)}{ending}"
        path.write_bytes(gzip.compress(content) if ending else content)
    assert_read(tmp_path, TRAIN | TEST)


def test_test_data_is_optional_in_idx_files(tmp_path):
    for name, values in TRAIN.items():
        (tmp_path / name).write_bytes(write_idx(values))
    assert_read(tmp_path, TRAIN)


def test_what_dvc_add_writes_beside_the_files_is_no_data(tmp_path):
    for name, values in TRAIN.items():
        (tmp_path / name).write_bytes(write_idx(values))
        (tmp_path / f"{name}.dvc").write_text(f"outs:\n- path: {name}\n")
    assert_read(tmp_path, TRAIN)


@pytest.mark.parametrize("files", [None, [], ["README.md", "cat.png"]])
def test_folder_without_data_is_refused_with_what_to_put_there(tmp_path, files):
    folder = tmp_path / "own"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("text")
    fault = refusal(folder)
    assert f"{folder} holds no data set" in fault
    assert "an .npz with the arrays `images` and `labels`" in fault
    assert "named train-images* and train-labels*" in fault


def test_several_npz_files_are_refused_by_name(tmp_path):
    for name in ("b.npz", "a.npz"):
        np.savez(tmp_path / name, images=IMAGES, labels=LABELS)
    assert "several .npz files (a.npz, b.npz)" in refusal(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        ("t10k-images-idx3-ubyte", "test-images-idx3-ubyte"),
    ],
)
def test_two_files_for_the_same_thing_are_refused_by_name(tmp_path, names):
    for name in names:
        (tmp_path / name).write_bytes(write_idx(IMAGES))
    fault = refusal(tmp_path)
    assert all(name in fault for name in names)
    assert "leave one" in fault


def test_npz_with_other_arrays_is_refused_with_their_names(tmp_path):
    np.savez(tmp_path / "mine.npz", pictures=IMAGES, classes=LABELS)
    fault = refusal(tmp_path)
    assert "holds the arrays pictures, classes" in fault
    assert "`images` and `labels`" in fault


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int64, np.uint32])
def test_integers_that_are_bytes_in_value_are_taken(tmp_path, dtype):
    images = IMAGES % 128
    np.savez(tmp_path / "mine.npz", images=images.astype(dtype), labels=LABELS.astype(dtype))
    assert_read(tmp_path, {**TRAIN, "train-images-idx3-ubyte": images})


def test_whole_range_of_a_byte_is_taken(tmp_path):
    images = np.arange(256).reshape(1, 16, 16)
    np.savez(tmp_path / "mine.npz", images=images, labels=np.array([255]))
    assert_read(
        tmp_path, {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": np.array([255])}
    )


@pytest.mark.parametrize(("low", "high"), [(-1, 255), (0, 256)])
def test_integers_beyond_a_byte_are_refused_with_their_range(tmp_path, low, high):
    images = np.array([[[low, high]]])
    np.savez(tmp_path / "mine.npz", images=images, labels=np.array([1]))
    assert f"mine.npz:images holds integers from {low} to {high}" in refusal(tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.bool_, "U1"])
def test_values_that_are_no_integers_are_refused_with_their_type(tmp_path, dtype):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS.astype(dtype))
    fault = refusal(tmp_path)
    assert f"mine.npz:labels holds {np.dtype(dtype)}; expected bytes" in fault
    assert "(images * 255).round().astype('uint8')" in fault


def npy():
    file = io.BytesIO()
    np.save(file, IMAGES)
    return file.getvalue()


def archive_of_text():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("images.npy", "text")
        archive.writestr("labels.npy", "text")
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"text", npy(), archive_of_text()], ids=["empty", "text", "npy", "zip"]
)
def test_another_format_under_the_name_npz_is_refused(tmp_path, content):
    (tmp_path / "mine.npz").write_bytes(content)
    assert "mine.npz" in refusal(tmp_path)


def test_truncated_idx_file_is_refused_by_name(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(write_idx(IMAGES)[:-1])
    assert f"{path} is truncated" in refusal(tmp_path)
