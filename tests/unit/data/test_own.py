"""The user's own files: what is taken, and what each fault is answered with."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from helpers import idx_bytes
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
    found = read_own(folder).arrays
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
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_by_either_convention(tmp_path, names, save):
    arrays = (IMAGES, LABELS, TEST_IMAGES, TEST_LABELS)
    save(tmp_path / "mine.npz", **dict(zip(names, arrays, strict=True)), extra=np.zeros(2))
    assert_read(tmp_path, TRAIN | TEST)


def test_npy_files_are_read_by_their_names(tmp_path):
    for name, values in (("images", IMAGES), ("labels", LABELS)):
        np.save(tmp_path / f"{name}.npy", values)
    assert_read(tmp_path, TRAIN)
    np.save(tmp_path / "x_test.npy", TEST_IMAGES)
    assert "but no labels of the test images" in refusal(tmp_path)
    np.save(tmp_path / "y_test.npy", TEST_LABELS)
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
        content = idx_bytes(values)
        path = tmp_path / f"{kind}{rest.format(rank=values.ndim)}{ending}"
        path.write_bytes(gzip.compress(content) if ending else content)
    assert_read(tmp_path, TRAIN | TEST)


def test_test_data_is_optional_in_idx_files(tmp_path):
    for name, values in TRAIN.items():
        (tmp_path / name).write_bytes(idx_bytes(values))
    assert_read(tmp_path, TRAIN)


@pytest.mark.parametrize("form", ["emnist-letters-{}-idx3-ubyte", "{}.idx3-ubyte", "{}-IDX3-UBYTE"])
def test_idx_files_are_known_by_any_usual_name(tmp_path, form):
    for name, values in (("train-images", IMAGES), ("Train-Labels", LABELS)):
        (tmp_path / form.format(name)).write_bytes(idx_bytes(values))
    assert_read(tmp_path, TRAIN)


def test_gzip_is_known_by_its_content_alone(tmp_path):
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx_bytes(IMAGES))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(gzip.compress(idx_bytes(LABELS)))
    assert_read(tmp_path, TRAIN)


def test_hidden_files_are_no_data_and_not_mentioned(tmp_path):
    (tmp_path / "Mine.NPZ").write_bytes(npz(images=IMAGES, labels=LABELS))
    for name in ("._Mine.NPZ", ".DS_Store", "._train-images-idx3-ubyte"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    with zipfile.ZipFile(tmp_path / "Mine.NPZ", "a") as archive:
        archive.writestr("__MACOSX/._images.npy", b"\0\5\x16\7")
    (tmp_path / "README.md").write_text("text")
    assert_read(tmp_path, TRAIN)
    assert read_own(tmp_path).notes == ["Mine.NPZ:images: 6 images of 4 x 3 pixels"]


def test_what_is_not_read_is_said(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS, val_images=IMAGES)
    (tmp_path / "names.csv").write_text("a")
    (tmp_path / "pictures").mkdir()
    assert read_own(tmp_path).notes[:2] == [
        "not read: names.csv, pictures",
        "arrays that are not used: val_images",
    ]


def test_names_that_are_not_used_are_said_in_few_words(tmp_path):
    more = {f"more{number}": LABELS for number in range(9)}
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS, **more)
    note = read_own(tmp_path).notes[0]
    assert note == "arrays that are not used: more0, more1, more2, more3, more4 and 4 more"


def test_dark_images_are_noted(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES // 16, labels=LABELS)
    assert read_own(tmp_path).notes[-1].startswith("no value of mine.npz:images is above 15, but")


@pytest.mark.parametrize("other", ["train-images-idx3-ubyte", "images.npy"])
def test_files_of_several_kinds_are_refused_by_name(tmp_path, other):
    np.savez(tmp_path / "old.npz", images=IMAGES, labels=LABELS)
    (tmp_path / other).write_bytes(idx_bytes(IMAGES))
    fault = refusal(tmp_path)
    assert "files of several kinds" in fault
    assert "old.npz" in fault
    assert other in fault


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("digits.mat", "scipy.io.loadmat"),
        ("digits.h5", "h5py.File reads digits.h5"),
        ("train.csv", "numpy.loadtxt reads train.csv"),
        ("train.parquet", "pandas.read_parquet"),
        ("all.pkl", "pickle.load reads all.pkl"),
        ("model.pt", "torch.load"),
        ("archive.zip", "unpack archive.zip first"),
        ("0.png", "PIL.Image.open"),
        ("data.bin", "data.bin is of no known kind"),
    ],
)
def test_files_of_other_formats_are_named_with_their_reader(tmp_path, name, way):
    (tmp_path / name).write_bytes(b"anything")
    fault = refusal(tmp_path)
    assert f"holds no data set. It holds {name}: {way}" in fault
    assert "np.savez('data/own/mine.npz', images=..., labels=...)" in fault


def test_what_dvc_add_writes_beside_the_files_is_no_data(tmp_path):
    for name, values in TRAIN.items():
        (tmp_path / name).write_bytes(idx_bytes(values))
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
        (tmp_path / name).write_bytes(idx_bytes(IMAGES))
    fault = refusal(tmp_path)
    assert all(name in fault for name in names)
    assert "leave one" in fault


@pytest.mark.parametrize(
    ("arrays", "lacks"),
    [
        ({"images": IMAGES}, "labels of the training images"),
        ({"labels": LABELS}, "training images"),
        ({"pictures": IMAGES, "classes": LABELS}, "training images"),
        ({"test_images": IMAGES, "test_labels": LABELS}, "training images"),
        ({"images": IMAGES, "labels": LABELS, "test_labels": LABELS}, "test images"),
        ({}, "training images"),
    ],
)
def test_arrays_that_are_missing_are_named_beside_those_found(tmp_path, arrays, lacks):
    np.savez(tmp_path / "mine.npz", **arrays)
    fault = refusal(tmp_path)
    found = ", ".join(f"{name} {a.shape} {a.dtype}" for name, a in arrays.items()) or "none"
    assert f"{tmp_path} holds mine.npz with the arrays {found}, but no {lacks}.\n" in fault
    assert "`images` and `labels`" in fault


def test_two_arrays_for_the_same_thing_are_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, x_train=IMAGES, labels=LABELS)
    assert "mine.npz:images, mine.npz:x_train for the same thing" in refusal(tmp_path)


def test_counts_and_sizes_that_do_not_fit_are_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS[:-1])
    assert "mine.npz:images has 6 images but 5 labels in" in refusal(tmp_path)
    np.savez(tmp_path / "mine.npz", images=np.moveaxis(IMAGES, 0, -1), labels=LABELS)
    assert "np.moveaxis(images, -1, 0)" in refusal(tmp_path)
    more = {"test_images": IMAGES[:, :3], "test_labels": LABELS}
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS, **more)
    assert "training and test images of 3 x 3 and 4 x 3 pixels" in refusal(tmp_path)


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
    path.write_bytes(idx_bytes(IMAGES)[:-1])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    assert f"{path} is truncated" in refusal(tmp_path)
