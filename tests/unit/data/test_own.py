"""The user's own files: what is taken, and what each fault is answered with."""

import gzip
import io
import zipfile

import numpy as np
import pytest

from helpers import idx_bytes
from helpers.own import read_own
from rhobeta.errors import RhobetaError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 4, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2], dtype=np.uint8)
TEST_IMAGES = RANDOM.integers(0, 256, (2, 4, 3), dtype=np.uint8)
TEST_LABELS = np.array([2, 0], dtype=np.uint8)

TRAIN = {"train-images-idx3-ubyte": IMAGES, "train-labels-idx1-ubyte": LABELS}
TEST = {"t10k-images-idx3-ubyte": TEST_IMAGES, "t10k-labels-idx1-ubyte": TEST_LABELS}


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def assert_read(folder, *, test):
    found, _ = read_own(folder)
    assert_samples(found.train, IMAGES, LABELS)
    assert (found.test is not None) is test
    if test:
        assert_samples(found.test, TEST_IMAGES, TEST_LABELS)


def assert_samples(found, values, labels):
    assert found.values.dtype == values.dtype
    np.testing.assert_array_equal(found.values, values)
    np.testing.assert_array_equal(found.labels, labels)


def refusal(folder, **options):
    with pytest.raises(RhobetaError) as caught:
        read_own(folder, **options)
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
def test_npz_is_read_by_either_convention(own, names, save):
    arrays = (IMAGES, LABELS, TEST_IMAGES, TEST_LABELS)
    save(own / "mine.npz", **dict(zip(names, arrays, strict=True)), extra=np.zeros(2))
    assert_read(own, test=True)


def test_npy_files_are_read_by_their_names(own):
    for name, values in (("images", IMAGES), ("labels", LABELS)):
        np.save(own / f"{name}.npy", values)
    assert_read(own, test=False)
    np.save(own / "x_test.npy", TEST_IMAGES)
    assert "but no labels of the test images" in refusal(own)
    np.save(own / "y_test.npy", TEST_LABELS)
    assert_read(own, test=True)


def test_test_data_is_optional_in_an_npz(own):
    np.savez(own / "mine.npz", images=IMAGES, labels=LABELS)
    assert_read(own, test=False)


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("test_name", ["t10k", "test"])
@pytest.mark.parametrize("rest", ["-idx{rank}-ubyte", ""])
def test_idx_files_are_read_plain_and_gzipped(own, ending, test_name, rest):
    for name, values in (TRAIN | TEST).items():
        kind = "-".join(name.split("-")[:2]).replace("t10k", test_name)
        content = idx_bytes(values)
        path = own / f"{kind}{rest.format(rank=values.ndim)}{ending}"
        path.write_bytes(gzip.compress(content) if ending else content)
    assert_read(own, test=True)


def test_test_data_is_optional_in_idx_files(own):
    for name, values in TRAIN.items():
        (own / name).write_bytes(idx_bytes(values))
    assert_read(own, test=False)


@pytest.mark.parametrize("form", ["emnist-letters-{}-idx3-ubyte", "{}.idx3-ubyte", "{}-IDX3-UBYTE"])
def test_idx_files_are_known_by_any_usual_name(own, form):
    for name, values in (("train-images", IMAGES), ("Train-Labels", LABELS)):
        (own / form.format(name)).write_bytes(idx_bytes(values))
    assert_read(own, test=False)


def test_gzip_is_known_by_its_content_alone(own):
    (own / "train-images-idx3-ubyte.gz").write_bytes(idx_bytes(IMAGES))
    (own / "train-labels-idx1-ubyte").write_bytes(gzip.compress(idx_bytes(LABELS)))
    assert_read(own, test=False)


def test_hidden_files_are_no_data_and_not_mentioned(own):
    (own / "Mine.NPZ").write_bytes(npz(images=IMAGES, labels=LABELS))
    for name in ("._Mine.NPZ", ".DS_Store", "._train-images-idx3-ubyte"):
        (own / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    with zipfile.ZipFile(own / "Mine.NPZ", "a") as archive:
        archive.writestr("__MACOSX/._images.npy", b"\0\5\x16\7")
    (own / "README.md").write_text("text")
    assert_read(own, test=False)
    found, labels = read_own(own)[1]
    assert found.startswith("Mine.NPZ:images: 6 images of 4 x 3 pixels, uint8 from ")
    assert labels == "labels of 3 classes"


def test_what_is_not_read_is_said(own):
    np.savez(own / "mine.npz", images=IMAGES, labels=LABELS, val_images=IMAGES)
    (own / "names.csv").write_text("a")
    (own / "pictures").mkdir()
    assert read_own(own)[1][:2] == [
        "not read: names.csv, pictures",
        "arrays that are not used: val_images",
    ]


def test_names_that_are_not_used_are_said_in_few_words(own):
    more = {f"more{number}": LABELS for number in range(9)}
    np.savez(own / "mine.npz", images=IMAGES, labels=LABELS, **more)
    note = read_own(own)[1][0]
    assert note == "arrays that are not used: more0, more1, more2, more3, more4 and 4 more"


def test_dark_images_are_noted(own):
    np.savez(own / "mine.npz", images=IMAGES // 16, labels=LABELS)
    assert read_own(own)[1][1].startswith("no value of mine.npz:images is above 15, but")


@pytest.mark.parametrize("other", ["train-images-idx3-ubyte", "images.npy"])
def test_files_of_several_kinds_are_refused_by_name(own, other):
    np.savez(own / "old.npz", images=IMAGES, labels=LABELS)
    (own / other).write_bytes(idx_bytes(IMAGES))
    fault = refusal(own)
    assert "files of several kinds" in fault
    assert "old.npz" in fault
    assert other in fault


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("digits.mat", "scipy.io.loadmat"),
        ("digits.h5", "h5py.File reads digits.h5"),
        ("train.csv", "numpy.loadtxt reads train.csv"),
        ("all.pkl", "pickle.load reads all.pkl"),
        ("model.pt", "torch.load"),
        ("archive.zip", "unpack archive.zip first"),
        ("data.bin", "data.bin is of no known kind"),
    ],
)
def test_files_of_other_formats_are_named_with_their_reader(own, name, way):
    (own / name).write_bytes(b"anything")
    fault = refusal(own)
    assert f"holds no data set. It holds {name}: {way}" in fault
    assert "np.savez('data/own/mine.npz', images=..., labels=...)" in fault


def test_what_dvc_add_writes_beside_the_files_is_no_data(own):
    for name, values in TRAIN.items():
        (own / name).write_bytes(idx_bytes(values))
        (own / f"{name}.dvc").write_text(f"outs:\n- path: {name}\n")
    assert_read(own, test=False)


@pytest.mark.parametrize("files", [None, [], ["README.md", "cat.txt"]])
def test_folder_without_data_is_refused_with_what_to_put_there(own, files):
    folder = own / "inside"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).write_text("text")
    fault = refusal(folder)
    assert f"{folder} holds no data set" in fault
    assert "an .npz with the array `images` or `vectors`" in fault
    assert "named train-images* and train-labels*" in fault


@pytest.mark.parametrize(
    "names",
    [
        ("train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"),
        ("t10k-images-idx3-ubyte", "test-images-idx3-ubyte"),
    ],
)
def test_two_files_for_the_same_thing_are_refused_by_name(own, names):
    for name in names:
        (own / name).write_bytes(idx_bytes(IMAGES))
    fault = refusal(own)
    assert all(name in fault for name in names)
    assert "leave one" in fault


@pytest.mark.parametrize(
    ("arrays", "lacks"),
    [
        ({"labels": LABELS}, "training images"),
        ({"pictures": IMAGES, "classes": LABELS}, "training images"),
        ({"test_images": IMAGES, "test_labels": LABELS}, "training images"),
        ({"images": IMAGES, "labels": LABELS, "test_labels": LABELS}, "test images"),
        ({}, "training images"),
    ],
)
def test_arrays_that_are_missing_are_named_beside_those_found(own, arrays, lacks):
    np.savez(own / "mine.npz", **arrays)
    fault = refusal(own)
    found = ", ".join(f"{name} {a.shape} {a.dtype}" for name, a in arrays.items()) or "none"
    assert f"{own} holds mine.npz with the arrays {found}, but no {lacks}.\n" in fault
    assert "`images` or `vectors`" in fault


def test_two_arrays_for_the_same_thing_are_refused(own):
    np.savez(own / "mine.npz", images=IMAGES, x_train=IMAGES, labels=LABELS)
    assert "mine.npz:images, mine.npz:x_train for the same thing" in refusal(own)


def test_counts_and_sizes_that_do_not_fit_are_refused(own):
    np.savez(own / "mine.npz", images=IMAGES, labels=LABELS[:-1])
    assert "mine.npz:images has 6 images but 5 labels in" in refusal(own)
    np.savez(own / "mine.npz", images=np.moveaxis(IMAGES, 0, -1), labels=LABELS)
    assert "np.moveaxis(images, -1, 0)" in refusal(own)
    more = {"test_images": IMAGES[:, :3], "test_labels": LABELS}
    np.savez(own / "mine.npz", images=IMAGES, labels=LABELS, **more)
    assert "images of 3 x 3 pixels and images of 4 x 3 pixels; expected one" in refusal(own)


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
def test_another_format_under_the_name_npz_is_refused(own, content):
    (own / "mine.npz").write_bytes(content)
    assert "mine.npz" in refusal(own)


def test_truncated_idx_file_is_refused_by_name(own):
    path = own / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(IMAGES)[:-1])
    (own / "train-labels-idx1-ubyte").write_bytes(idx_bytes(LABELS))
    assert f"{path} is truncated" in refusal(own)
