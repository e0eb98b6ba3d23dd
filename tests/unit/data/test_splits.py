"""From the verified files to the splits: what is drawn, what is written, what is read back."""

import contextlib
import hashlib
import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file

from helpers import idx_bytes
from rhobeta.data.raw import describe_raw, read_raw
from rhobeta.data.samples import Samples
from rhobeta.data.splits import (
    SPLIT_NAMES,
    everything,
    hold_out,
    keep_classes,
    read_manifest,
    read_split,
    write_splits,
)
from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import write_json_with_checksum

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def numbered(labels, *, first=0):
    """Images that each hold their own number, as two bytes."""
    labels = np.asarray(labels, dtype=np.uint8)
    numbers = first + np.arange(len(labels))
    images = np.stack([numbers // 256, numbers % 256], axis=1).astype(np.uint8)
    return Samples(images[:, None, :], labels)


def numbers(data):
    return (256 * data.values[:, 0, 0].astype(int) + data.values[:, 0, 1]).tolist()


def mixed(**counts):
    """As many images of each label as said, in an order that mixes them."""
    labels = [int(name.lstrip("_")) for name, count in counts.items() for _ in range(count)]
    return numbered(np.random.default_rng(0).permutation(labels))


def counts(data):
    labels, found = np.unique(data.labels, return_counts=True)
    return dict(zip(labels.tolist(), found.tolist(), strict=True))


def assert_same(found, expected):
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.values.dtype == found.labels.dtype == np.uint8


# Images with labels


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [((3, 2, 2), (2,), "3 images but 2 labels"), ((3, 4), (3,), "(3, 4)"), ((3, 2, 2), (3, 1), "")],
)
def test_images_and_labels_that_do_not_fit_are_refused(images, labels, named):
    with pytest.raises(RhobetaError) as caught:
        Samples(np.zeros(images, np.uint8), np.zeros(labels, np.uint8))
    assert named in str(caught.value)


# The folder of verified files


def write_raw(folder, digits, test_digits):
    folder.mkdir(exist_ok=True)
    (folder / TRAIN_IMAGES).write_bytes(idx_bytes(digits.values))
    (folder / TRAIN_LABELS).write_bytes(idx_bytes(digits.labels))
    if test_digits is not None:
        (folder / TEST_IMAGES).write_bytes(idx_bytes(test_digits.values))
        (folder / TEST_LABELS).write_bytes(idx_bytes(test_digits.labels))


@pytest.fixture
def raw(tmp_path, digits, test_digits):
    folder = tmp_path / "raw"
    write_raw(folder, digits, test_digits)
    describe_raw(folder, name="mnist")
    return folder


def raw_refusal(folder):
    with pytest.raises(RhobetaError) as caught:
        read_raw(folder)
    return str(caught.value)


def test_raw_data_is_read_as_it_was_described(raw, digits, test_digits):
    found = read_raw(raw)
    assert found.name == "mnist"
    assert_same(found.train, digits)
    assert_same(found.test, test_digits)
    names = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)
    assert found.files == {
        name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in names
    }


def test_description_holds_digests_and_sizes(raw):
    described = json.loads((raw / "dataset.json").read_text())
    assert described["name"] == "mnist"
    assert described["files"][TRAIN_LABELS] == {
        "sha256": hashlib.sha256((raw / TRAIN_LABELS).read_bytes()).hexdigest(),
        "bytes": 4 + 4 + 600,
    }


def test_raw_data_need_not_have_test_images(tmp_path, digits):
    write_raw(tmp_path, digits, None)
    describe_raw(tmp_path, name="own")
    found = read_raw(tmp_path)
    assert found.test is None
    assert_same(found.train, digits)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_raw_file_that_changed_or_vanished_is_named(raw, name):
    content = bytearray((raw / name).read_bytes())
    content[-1] ^= 1
    (raw / name).write_bytes(content)
    fault = raw_refusal(raw)
    assert f"{raw / name} has changed" in fault
    assert hashlib.sha256(content).hexdigest()[:16] in fault
    (raw / name).unlink()
    assert f"{raw / name} is missing" in raw_refusal(raw)


@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS])
def test_raw_file_without_its_pair_is_refused(tmp_path, digits, test_digits, name):
    write_raw(tmp_path, digits, test_digits)
    (tmp_path / name).unlink()
    with pytest.raises(RhobetaError, match="come in pairs") as caught:
        describe_raw(tmp_path, name="own")
    assert f"{tmp_path / name} is missing" in str(caught.value)


def test_count_of_labels_that_is_not_that_of_images_is_refused(tmp_path, digits):
    write_raw(tmp_path, digits, None)
    (tmp_path / TRAIN_LABELS).write_bytes(idx_bytes(digits.labels[:-1]))
    with pytest.raises(RhobetaError, match="600 images but 599 labels"):
        describe_raw(tmp_path, name="own")


def test_test_images_of_another_size_are_refused(tmp_path, digits, test_digits):
    smaller = Samples(test_digits.values[:, :, :-1], test_digits.labels)
    write_raw(tmp_path, digits, smaller)
    with pytest.raises(RhobetaError, match="28 x 28 pixels but the test samples images of 28 x 27"):
        describe_raw(tmp_path, name="own")


def test_test_images_alone_are_no_data_set(tmp_path, digits, test_digits):
    write_raw(tmp_path, digits, test_digits)
    (tmp_path / TRAIN_IMAGES).unlink()
    (tmp_path / TRAIN_LABELS).unlink()
    with pytest.raises(RhobetaError, match="holds no training images"):
        describe_raw(tmp_path, name="own")


@pytest.mark.parametrize(
    "value",
    [{}, {"name": "x"}, {"name": "x", "files": []}, {"name": "x", "files": {"a": "digest"}}],
)
def test_wrong_description_is_refused(raw, value):
    write_json_with_checksum(raw / "dataset.json", value)
    fault = raw_refusal(raw)
    assert "dataset.json does not describe a data set" in fault
    assert "`rhobeta download`" in fault


def test_missing_description_is_refused(tmp_path):
    assert "`rhobeta download`" in raw_refusal(tmp_path)


# Classes


def test_only_the_chosen_classes_are_kept_in_their_order():
    kept = keep_classes(numbered([3, 1, 2, 3, 1, 2, 9]), [9, 1, 3]).in_memory()
    assert numbers(kept) == [0, 1, 3, 4, 6]
    assert kept.labels.tolist() == [3, 1, 3, 1, 9]


def test_classes_are_chosen_by_name_too():
    names = ["cat", "cow", "dog"]
    kept = keep_classes(numbered([2, 1, 0, 2]), ["dog", 0], names).in_memory()
    assert kept.labels.tolist() == [2, 0, 2]
    with pytest.raises(RhobetaError, match="no class named owl; it has cat, cow, dog"):
        keep_classes(numbered([0, 1]), ["cat", "owl"], names)
    with pytest.raises(RhobetaError, match="no class named cat; its classes have numbers"):
        keep_classes(numbered([0, 1]), ["cat", 1])


def test_without_a_choice_all_classes_are_kept(digits):
    assert_same(keep_classes(digits, None).in_memory(), digits)


def test_class_that_the_data_set_lacks_is_refused_by_name():
    with pytest.raises(RhobetaError) as caught:
        keep_classes(numbered([3, 1, 2, 3]), [7, 3, 5])
    assert "found [7, 3, 5]" in str(caught.value)
    assert "no images labelled 5, 7; it has 1, 2, 3." in str(caught.value)


# Held-out shares


def held_out(data, fraction, seed=0):
    parts = hold_out(everything(data), fraction, seed=seed, name="data.some_fraction")
    return [part.in_memory() for part in parts]


DATA = [mixed(_0=50, _1=50), mixed(_0=100, _3=37, _7=11), mixed(_0=2, _1=2, _2=2)]
FRACTIONS = [0.1, 0.15, 0.3, 0.5]
DRAWN = [(data, fraction) for data in DATA for fraction in FRACTIONS if len(data.labels) > 6]
DRAWN.append((DATA[2], 0.5))


@pytest.mark.parametrize(("data", "fraction"), DRAWN)
def test_halves_are_disjoint_complete_and_in_order(data, fraction):
    rest, held = held_out(data, fraction)
    assert sorted(numbers(rest) + numbers(held)) == list(range(len(data.labels)))
    for part in (rest, held):
        assert numbers(part) == sorted(numbers(part))
        assert part.labels.tolist() == [data.labels[number] for number in numbers(part)]


@pytest.mark.parametrize(("data", "fraction"), DRAWN)
def test_share_of_every_class_is_within_rounding(data, fraction):
    rest, held = held_out(data, fraction)
    assert abs(len(held.labels) - fraction * len(data.labels)) <= 0.5
    share = len(held.labels) / len(data.labels)
    assert counts(rest).keys() == counts(held).keys() == counts(data).keys()
    for label, count in counts(data).items():
        assert abs(counts(held)[label] - share * count) < 1


def test_seed_decides_which_images_are_drawn():
    data = mixed(_0=50, _1=50)
    drawn = [tuple(numbers(held_out(data, 0.2, seed)[1])) for seed in (0, 1, 2, 2**32 - 1)]
    np.random.default_rng(3).random(10)
    again = [tuple(numbers(held_out(data, 0.2, seed)[1])) for seed in (0, 1, 2, 2**32 - 1)]
    assert again == drawn
    assert len(set(drawn)) == 4


def test_every_image_can_be_held_out():
    data = mixed(_0=20, _1=20)
    drawn = {n for seed in range(60) for n in numbers(held_out(data, 0.2, seed)[1])}
    assert drawn == set(range(40))


def split_refusal(data, fraction):
    with pytest.raises(RhobetaError) as caught:
        held_out(data, fraction)
    assert f"cannot be split by data.some_fraction {fraction}" in str(caught.value)
    assert "data.classes" in str(caught.value)
    return str(caught.value)


def test_classes_with_a_single_image_are_refused_by_name():
    fault = split_refusal(mixed(_0=30, _4=1, _5=30, _8=1), 0.2)
    assert "smallest classes are 4 (with 1), 8 (with 1)" in fault


def test_share_with_fewer_images_than_classes_is_refused():
    fault = split_refusal(mixed(_0=10, _1=10, _2=10), 0.05)
    assert "the 2 images held out cannot hold every class" in fault


def test_class_too_small_for_its_share_is_not_left_out():
    data = mixed(_0=500, _1=500, _2=2)
    with contextlib.suppress(RhobetaError):
        rest, held = held_out(data, 0.1)
        assert counts(rest).keys() == counts(held).keys() == {0, 1, 2}


# Splits on disk


@pytest.fixture
def splits(digits, test_digits):
    train, validation = held_out(digits, 0.1)
    return {"train": train, "validation": validation, "test": test_digits}


def write(folder, splits):
    selected = {name: everything(split) for name, split in splits.items()}
    return write_splits(
        folder, selected, raw_files={"a file": "its digest"}, parameters={"data.seed": 0}
    )


def file_of(folder, name):
    return folder / f"{name}.safetensors"


def test_splits_are_read_as_they_were_written(tmp_path, splits):
    manifest = write(tmp_path, splits)
    assert read_manifest(tmp_path) == manifest
    for name in SPLIT_NAMES:
        assert_same(read_split(tmp_path, name, manifest), splits[name])
        tensors = load_file(file_of(tmp_path, name))
        assert_same(Samples(tensors["values"], tensors["labels"]), splits[name])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_vectors_without_labels_are_written_in_pieces_and_mapped(tmp_path, monkeypatch, dtype):
    values = np.random.default_rng(0).normal(size=(40, 5)).astype(dtype)
    kept, test = hold_out(everything(Samples(values, None)), 0.25, seed=0, name="it")
    train, validation = hold_out(kept, 0.2, seed=0, name="it")
    monkeypatch.setattr("rhobeta.data.splits._PIECE_BYTES", 3 * 5 * values.itemsize)
    parts = {"train": train, "validation": validation, "test": test}
    manifest = write_splits(
        tmp_path, parts, raw_files={}, parameters={}, feature_names=list("abcde")
    )
    assert (manifest.sample_shape, manifest.classes, manifest.mean_pixel) == ((5,), [], None)
    assert manifest.feature_names == list("abcde")
    assert [facts["images"] for facts in manifest.splits.values()] == [24, 6, 10]
    assert sorted(np.concatenate([part.rows for part in parts.values()])) == list(range(40))
    for name, part in parts.items():
        found = read_split(tmp_path, name, manifest)
        assert (found.labels, found.values.dtype) == (None, dtype)
        assert isinstance(found.values, np.memmap)
        np.testing.assert_array_equal(found.values, values[part.rows])


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_too_few_rows_without_labels_are_refused(fraction):
    data = everything(Samples(np.zeros((1, 3), np.float32), None))
    with pytest.raises(RhobetaError, match=f"1 rows cannot be split by it {fraction}"):
        hold_out(data, fraction, seed=0, name="it")


def test_classes_of_data_without_labels_are_refused():
    with pytest.raises(RhobetaError, match="has no labels"):
        keep_classes(Samples(np.zeros((4, 3), np.float32), None), [0, 1])


def test_manifest_says_what_the_splits_are(tmp_path):
    train = Samples(
        np.array([[[0, 10, 20]], [[30, 40, 50]], [[60, 70, 255]]], dtype=np.uint8),
        np.array([4, 2, 4], dtype=np.uint8),
    )
    validation = Samples(train.values[:2], train.labels[:2])
    test = Samples(train.values[1:2], train.labels[1:2])
    manifest = write(tmp_path, {"train": train, "validation": validation, "test": test})
    assert manifest.parameters == {"data.seed": 0}
    assert manifest.sample_shape == (1, 3)
    assert manifest.classes == [2, 4]
    total = 0 + 10 + 20 + 30 + 40 + 50 + 60 + 70 + 255
    assert manifest.mean_pixel == pytest.approx(total / 9 / 255, rel=1e-15)
    expected = {
        "train": (3, {"2": 1, "4": 2}),
        "validation": (2, {"2": 1, "4": 1}),
        "test": (1, {"2": 1}),
    }
    for name, (images, per_class) in expected.items():
        digest = hashlib.sha256(file_of(tmp_path, name).read_bytes()).hexdigest()
        assert manifest.splits[name] == {
            "images": images,
            "per_class": per_class,
            "sha256": digest,
        }
        assert manifest.digest(name) == digest
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["raw_files"] == {"a file": "its digest"}


def test_mean_pixel_is_that_of_the_training_images_alone(tmp_path, splits):
    manifest = write(tmp_path, splits)
    pixels = splits["train"].values.astype(int)
    assert manifest.mean_pixel == pytest.approx(pixels.sum() / pixels.size / 255, rel=1e-14)


def test_layout_in_memory_does_not_change_what_is_written(tmp_path, splits):
    write(tmp_path / "one", splits)
    fortran = {
        name: Samples(np.asfortranarray(split.values), split.labels)
        for name, split in splits.items()
    }
    write(tmp_path / "other", fortran)
    assert_same_bytes(tmp_path / "one", tmp_path / "other")


def assert_same_bytes(folder, other):
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["manifest.json", *(f"{name}.safetensors" for name in sorted(SPLIT_NAMES))]
    assert sorted(path.name for path in other.iterdir()) == names
    for name in names:
        assert (folder / name).read_bytes() == (other / name).read_bytes()


def test_writing_twice_gives_the_same_bytes(tmp_path, splits):
    write(tmp_path / "one", splits)
    write(tmp_path / "other", splits)
    assert_same_bytes(tmp_path / "one", tmp_path / "other")


@pytest.mark.parametrize("name", SPLIT_NAMES)
@pytest.mark.parametrize("part", ["values", "labels"])
def test_digest_of_all_changes_with_any_split(tmp_path, splits, name, part):
    before = write(tmp_path / "one", splits).sha256
    arrays = {"values": splits[name].values.copy(), "labels": splits[name].labels.copy()}
    arrays[part].flat[0] ^= 1
    after = write(tmp_path / "other", splits | {name: Samples(**arrays)}).sha256
    assert len(before) == len(after) == 64
    assert before != after


def test_digest_of_all_tells_which_split_is_which(tmp_path, splits):
    swapped = splits | {"validation": splits["test"], "test": splits["validation"]}
    assert write(tmp_path / "one", splits).sha256 != write(tmp_path / "other", swapped).sha256


@pytest.mark.parametrize("labels", [[3, 3, 3], []])
def test_data_of_fewer_than_two_classes_is_refused(tmp_path, labels):
    data = numbered(labels)
    with pytest.raises(RhobetaError, match=f"images of {len(set(labels))} class"):
        write(tmp_path, {"train": data, "validation": data, "test": data})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [0, 7, 255])
def test_training_images_that_are_all_the_same_are_refused(tmp_path, value):
    flat = Samples(np.full((6, 2, 3), value, np.uint8), np.arange(6, dtype=np.uint8) % 2)
    with pytest.raises(
        RhobetaError, match=rf"All 6 training .* same \(pixels {value} to {value}\)"
    ):
        write(tmp_path, {"train": flat, "validation": numbered([0, 1]), "test": numbered([0, 1])})
    assert list(tmp_path.iterdir()) == []


def read_refusal(folder, name, manifest):
    with pytest.raises(RhobetaError) as caught:
        read_split(folder, name, manifest)
    return str(caught.value)


def test_split_with_any_byte_changed_is_refused(tmp_path):
    data = numbered([0, 1, 0, 1])
    manifest = write(tmp_path, {"train": data, "validation": data, "test": data})
    path = file_of(tmp_path, "validation")
    content = path.read_bytes()
    damaged = [content[:-1], content + b"\0", b""]
    damaged += [
        content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        for place in range(len(content))
    ]
    for other in damaged:
        path.write_bytes(other)
        assert f"{path} is not the file" in read_refusal(tmp_path, "validation", manifest)
    path.write_bytes(content)
    assert_same(read_split(tmp_path, "validation", manifest), data)


def test_split_in_anothers_place_is_refused(tmp_path, splits):
    manifest = write(tmp_path, splits)
    shutil.copy(file_of(tmp_path, "train"), file_of(tmp_path, "test"))
    assert "is not the file" in read_refusal(tmp_path, "test", manifest)


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_missing_split_is_refused(tmp_path, splits, name):
    manifest = write(tmp_path, splits)
    file_of(tmp_path, name).unlink()
    fault = read_refusal(tmp_path, name, manifest)
    assert f"{file_of(tmp_path, name)} is missing" in fault
    assert "`rhobeta preprocess`" in fault


@pytest.mark.parametrize("content", [None, "", "[]", "{}"])
def test_missing_or_empty_manifest_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(RhobetaError) as caught:
        read_manifest(tmp_path)
    assert "manifest.json" in str(caught.value)
    assert "`rhobeta preprocess`" in str(caught.value)
