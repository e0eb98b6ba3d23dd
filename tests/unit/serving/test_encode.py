"""`rhobeta encode`: the library's codes of arrays and pictures, and what bad input is answered."""

import dataclasses
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from helpers import make_project
from rhobeta.cli import main
from rhobeta.config.params import flatten, load_params
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.data.splits import everything, write_splits
from rhobeta.errors import RhobetaError
from rhobeta.metrics.encoding import codes_of
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import (
    ModelDescription,
    SavedModel,
    model_from_bytes,
    model_to_bytes,
)
from rhobeta.paths import Paths
from rhobeta.serving import encode as command
from rhobeta.serving.image_files import open_images


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, digits: Samples) -> Paths:
    """A project with splits of bright-on-dark digits and a model of them."""
    root = tmp_path_factory.mktemp("encoding") / "project"
    make_project(root)
    paths = Paths(root, root)
    half = everything(digits.take(np.arange(100)))
    manifest = write_splits(
        paths.splits,
        {"train": half, "validation": half, "test": half},
        raw_files={},
        parameters={},
    )
    known = flatten(load_params(paths.params))
    sections = ("data", "model", "penalty", "topk", "training")
    parameters = {k: v for k, v in known.items() if k.split(".")[0] in sections}
    architecture = Architecture((28, 28), (12,), "sigmoid", "relu", "sigmoid")
    described = ModelDescription(architecture, parameters, manifest.sha256, 1, 0.1)
    paths.model.parent.mkdir()
    paths.model.write_bytes(model_to_bytes(Autoencoder(architecture, seed=5), described))
    return paths


Encode = Callable[..., dict[str, Any]]


@pytest.fixture
def encode(project: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Encode:
    """Encode what lies at a path by the command, and read what it wrote."""
    monkeypatch.chdir(project.workspace)

    def run(path: Path, *more: str, status: int = 0) -> dict[str, Any]:
        out = tmp_path / "out" / "codes.npz"
        assert main(["encode", str(path), "--out", str(out), *more]) == status
        assert out.exists() == (status == 0)
        if status:
            return {}
        with np.load(out, allow_pickle=False) as archive:
            return dict(archive)

    return run


@pytest.fixture
def expected(project: Paths, test_digits: Samples) -> NDArray[np.float32]:
    """The library's codes of the first 25 test digits."""
    model = model_from_bytes(project.model.read_bytes(), name="it").model
    return codes_of(model, pixels_of(test_digits.values[:25]))


def pictures(folder: Path, images: NDArray[np.uint8], ending: str = ".png") -> Path:
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}{ending}")
    return folder


def test_arrays_of_every_kind_give_the_library_s_codes(
    encode: Encode, expected, test_digits: Samples, tmp_path: Path, monkeypatch
) -> None:
    # Several batches, the last of them smaller.
    monkeypatch.setattr(command, "_BATCH", 25)
    images = test_digits.values[:25]
    kinds = {
        "bytes": images,
        "rows": images.reshape(25, 784),
        "long": images.astype(np.int64),
        "float": pixels_of(images).reshape(25, 28, 28),
        "swapped": pixels_of(images).astype(">f4"),
    }
    for name, array in kinds.items():
        file = tmp_path / f"{name}.npy"
        np.save(file, array)
        np.testing.assert_array_equal(encode(file)["code"], expected, err_msg=name)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "images.npz", images=images, labels=np.arange(25))
        np.testing.assert_array_equal(encode(tmp_path / "images.npz")["code"], expected)


def test_a_model_file_needs_no_project_and_no_known_penalty(
    project: Paths, expected, test_digits: Samples, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("images.npy", test_digits.values[:25])
    assert main(["encode", "images.npy"]) == 1
    assert "A model file needs no project: --model FILE" in capsys.readouterr().err
    saved = model_from_bytes(project.model.read_bytes(), name="it")
    mine = saved.description.parameters | {"penalty.kind": "one of mine"}
    described = dataclasses.replace(saved.description, parameters=mine)
    Path("own.safetensors").write_bytes(model_to_bytes(saved.model, described))
    assert main(["encode", "images.npy", "--model", "own.safetensors"]) == 0
    with np.load("codes.npz") as archive:
        np.testing.assert_array_equal(archive["code"], expected)


def test_batches_follow_each_other(
    encode: Encode, expected, test_digits: Samples, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(command, "_BATCH", 8)
    np.save(tmp_path / "images.npy", test_digits.values[:25])
    found = encode(tmp_path / "images.npy")["code"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_folder_is_encoded_in_the_order_of_its_names(
    encode: Encode, project: Paths, expected, test_digits: Samples, tmp_path: Path, capsys
) -> None:
    folder = pictures(tmp_path / "folder", test_digits.values[:24])
    Image.fromarray(test_digits.values[24]).convert("RGB").save(folder / "last.bmp")
    (folder / "labels.csv").write_text("0\n")
    (folder / ".hidden").write_text("0\n")
    found = encode(folder)
    np.testing.assert_array_equal(found["code"], expected)
    assert found["names"].tolist() == [*(f"{n:03d}.png" for n in range(24)), "last.bmp"]
    digest = model_from_bytes(project.model.read_bytes(), name="it").sha256
    assert str(found["model_sha256"]) == digest
    printed = capsys.readouterr().out
    assert "note: skipped, not pictures: labels.csv\n" in printed
    assert "25 codes of 12 units" in printed


def test_the_same_images_give_the_same_file(
    encode: Encode, test_digits: Samples, tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", test_digits.values[:25])
    out = tmp_path / "out" / "codes.npz"
    encode(tmp_path / "images.npy")
    first = out.read_bytes()
    with zipfile.ZipFile(out) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}
    encode(tmp_path / "images.npy")
    assert out.read_bytes() == first


def test_colours_become_grey_and_it_is_said(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "red.png")
    images = open_images(tmp_path / "red.png", (4, 4))
    (batch,) = images.batches(9)
    # ITU-R 601: 0.299 of red.
    np.testing.assert_allclose(batch, np.full((1, 16), 76 / 255), atol=1e-6)
    assert images.notes == ["1 colour pictures were converted to grey (ITU-R 601)"]


def test_inverted_images_are_noted_and_encoded_all_the_same(
    encode: Encode, test_digits: Samples, tmp_path: Path, capsys
) -> None:
    np.save(tmp_path / "images.npy", test_digits.values[:25])
    encode(tmp_path / "images.npy")
    assert "may be inverted" not in capsys.readouterr().out
    np.save(tmp_path / "images.npy", 255 - test_digits.values[:25])
    encode(tmp_path / "images.npy")
    assert "the mean pixel is 0.8" in (told := capsys.readouterr().out)
    assert "may be inverted" in told


def test_dark_images_are_noted_in_every_kind_of_file(tmp_path: Path) -> None:
    dark = np.zeros((2, 4, 4), np.uint8)
    dark[0, 0, 0] = 16
    (tmp_path / "deep").mkdir()
    Image.fromarray(dark[0].astype(np.uint16)).save(tmp_path / "deep" / "a.png")
    Image.fromarray(dark[0].astype(np.int32)).save(tmp_path / "deep" / "b.tif")
    Image.fromarray(dark[0] + np.uint8(100)).save(tmp_path / "deep" / "c.png")
    np.save(tmp_path / "bytes.npy", dark)
    np.save(tmp_path / "floats.npy", dark / 255 / 255)
    np.savez(tmp_path / "long.npz", images=dark.astype(np.int64))
    for name, found in {
        "bytes.npy": "bytes.npy is above 16, but white is 255",
        "floats.npy": "floats.npy is above 0.000246059, but white is 1",
        "long.npz": "long.npz is above 16, but white is 255",
        "deep": "the pictures is above 16, but white is 65535",
    }.items():
        images = open_images(tmp_path / name, (4, 4))
        list(images.batches(1))
        assert [note for note in images.notes if "white" in note] == [
            f"no value of {found}: scale the values if they are not this dark"
        ]


def test_arrays_with_a_channel_or_by_columns_are_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    arrays = (images[..., None], images[:, None], np.asfortranarray(images))
    for number, array in enumerate(arrays):
        np.save(tmp_path / "images.npy", array)
        found = list(open_images(tmp_path / "images.npy", (4, 3)).batches(2))
        assert [len(batch) for batch in found] == [2, 2, 1]
        np.testing.assert_array_equal(np.concatenate(found), pixels_of(images), err_msg=str(number))


def test_arrays_are_known_by_their_content(tmp_path: Path) -> None:
    images = np.full((1, 4, 4), 200, np.uint8)
    for name, save in (
        ("a.NPZ", np.savez),
        ("b", np.savez),
        ("c.dat", np.save),
        ("d.NPY", np.save),
    ):
        with (tmp_path / name).open("wb") as file:
            save(file, **({"images": images} if save is np.savez else {"arr": images}))
        assert open_images(tmp_path / name, (4, 4)).count == 1


def test_companions_of_a_mac_are_no_pictures(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "folder", np.full((2, 4, 4), 200, np.uint8))
    for name in ("._000.png", ".DS_Store"):
        (folder / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    images = open_images(folder, (4, 4))
    assert images.names == ["000.png", "001.png"]
    assert images.notes == []


def _with(value: float, dtype: type = np.float32) -> NDArray[Any]:
    images = np.zeros((3, 4, 4), dtype)
    images[1, 0, 2] = value
    return images


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (_with(np.nan), r"image 1 \(the first is 0\) has the value nan at pixel 2; floats must"),
        (_with(np.inf), "has the value inf at pixel 2"),
        (_with(-0.5), "has the value -0.5 at pixel 2"),
        (_with(200), r"has the value 200.0 at pixel 2; .*\n.*divide by 255"),
        (_with(256, np.int32), r"256 at pixel 2; integers must be .*\n.*divide by 65535"),
        (_with(-1, np.int8), "has the value -1 at pixel 2"),
        (
            np.zeros((3, 5, 4)),
            r"shape \(3, 5, 4\); the model expects images of 4 x 4 .*\n.*resized",
        ),
        (np.zeros((3, 4, 4, 3)), r"shape \(3, 4, 4, 3\).*\n.*images.mean\(-1\)"),
        (np.zeros((4, 4)), r"shape \(4, 4\).*\n.*image\[None\]"),
        (np.zeros((0, 4, 4)), "holds no image"),
        (np.zeros((3, 4, 4), bool), "holds bool; expected integers"),
        (np.zeros((3, 4, 4), complex), "holds complex128"),
        (np.zeros((3, 4, 4), "U3"), "holds <U3"),
        (np.full((3, 4, 4), None), "holds Python objects, which are not loaded"),
    ],
)
def test_an_array_that_is_not_of_images_is_refused(
    tmp_path: Path, array: NDArray[Any], reason: str
) -> None:
    np.save(tmp_path / "images.npy", array)
    with pytest.raises(RhobetaError, match=reason) as caught:
        list(open_images(tmp_path / "images.npy", (4, 4)).batches(2))
    assert str(caught.value).startswith(str(tmp_path / "images.npy"))


def _cut_npy(folder: Path) -> Path:
    np.save(folder / "cut.npy", np.zeros((3, 4, 4)))
    content = (folder / "cut.npy").read_bytes()
    (folder / "cut.npy").write_bytes(content[:-9])
    return folder / "cut.npy"


def _text(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_text("text")
        return folder / name

    return write


def _npz(folder: Path) -> Path:
    np.savez(folder / "other.npz", digits=np.zeros((3, 4, 4)))
    return folder / "other.npz"


def _folder(*files: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "pictures").mkdir()
        for name in files:
            (folder / "pictures" / name).write_text("text")
        return folder / "pictures"

    return write


def _picture(name: str, picture: Image.Image, **options: Any) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        picture.save(folder / name, **options)
        return folder / name

    return write


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (_cut_npy, "is not a readable .npy file: it is truncated"),
        (_text("images.npy"), "is not a readable .npy file"),
        (_text("images.npz"), "is not a readable .npz file"),
        (_npz, r"holds the arrays digits \(3, 4, 4\) float64; expected one named images"),
        (_text("images.csv"), "is not a file that is read here: numpy.loadtxt reads images.csv"),
        (_text("images.mat"), "scipy.io.loadmat .* reads images.mat"),
        (_text("images.npy.gz"), "unpack images.npy.gz first"),
        (_text("images"), "images is of no known kind"),
        (lambda folder: folder / "nothing", "does not exist"),
        (lambda folder: Path(os.devnull), "null is neither a file nor a folder"),
        (_folder(), r"holds no picture .*\n.*not searched"),
        (_folder("a.txt", "b.csv"), r"holds no picture .*; it holds a.txt, b.csv"),
        (_folder("a.png"), "a.png cannot be read as a picture: its content is none of BMP, GIF"),
        (_picture("a.png", Image.new("L", (5, 4))), "has 4 x 5 pixels; the model expects 4 x 4"),
    ],
)
def test_a_file_that_is_not_of_images_is_refused(
    tmp_path: Path, made: Callable[[Path], Path], reason: str
) -> None:
    with pytest.raises(RhobetaError, match=reason):
        list(open_images(made(tmp_path), (4, 4)).batches(2))


def test_a_fault_in_a_late_batch_leaves_no_file(
    encode: Encode, test_digits: Samples, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(command, "_BATCH", 8)
    images = pixels_of(test_digits.values[:25])
    images[24, 7] = np.nan
    np.save(tmp_path / "images.npy", images)
    encode(tmp_path / "images.npy", status=1)
    assert "image 24 (the first is 0) has the value nan" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_a_model_that_is_not_there_is_explained(
    encode: Encode, project: Paths, test_digits: Samples, tmp_path: Path, capsys
) -> None:
    np.save(tmp_path / "images.npy", test_digits.values[:2])
    for wanted, reason in (
        ("models/other.safetensors", "There is no such file"),
        (str(project.params), "is not a model of rhobeta"),
    ):
        encode(tmp_path / "images.npy", "--model", wanted, status=1)
        assert reason in capsys.readouterr().err
    assert encode(tmp_path / "images.npy", "--model", str(project.model))


def test_the_images_own_file_is_not_written_over(
    project: Paths, test_digits: Samples, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(project.workspace)
    file = tmp_path / "images.npz"
    np.savez(file, images=test_digits.values[:2])
    before = file.read_bytes()
    assert main(["encode", str(file), "--out", str(file)]) == 1
    assert "is the file of the samples" in capsys.readouterr().err
    assert main(["encode", str(file), "--out", str(tmp_path / "codes.npy")]) == 1
    assert "must end in .npz" in capsys.readouterr().err
    assert file.read_bytes() == before


def of_shape(shape: tuple[int, ...]) -> SavedModel:
    architecture = Architecture(shape, (3,), "sigmoid", "relu", "identity")
    described = ModelDescription(architecture, {"penalty.kind": "none"}, "0" * 64, 1, 0.1)
    return model_from_bytes(model_to_bytes(Autoencoder(architecture), described), name="it")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_vectors_of_any_numbers_give_the_codes_of_the_library(
    tmp_path: Path, dtype: type, ending: str
) -> None:
    values = (1000 * np.random.default_rng(0).normal(size=(7, 5))).astype(dtype)
    path = tmp_path / f"rows.{ending}"
    if ending == "npy":
        np.save(path, values)
    else:
        np.savez(path, values=values)
    saved = of_shape((5,))
    command.encode(saved, path, out=tmp_path / "codes.npz")
    with np.load(tmp_path / "codes.npz") as archive:
        expected = codes_of(saved.model, values.astype(np.float32))
        np.testing.assert_array_equal(archive["code"], expected)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.zeros((4, 6)), r"shape \(4, 6\); the model expects vectors of 5 features"),
        (np.zeros(5), r"A single vector becomes such an array by vector\[None\]"),
        (np.zeros((0, 5)), "holds no vector"),
        (np.zeros((2, 5), bool), "holds bool; expected numbers"),
        (
            np.array([[0, 0, 0, 0, 0], [0, 0, 0, np.nan, 0]]),
            "row 1 .* has the value nan at feature 3",
        ),
        (np.full((1, 5), 1e300), "row 0 .* has the value 1e[+]300 at feature 0"),
    ],
    ids=["other size", "one", "none", "truth", "NaN", "large"],
)
def test_vectors_that_cannot_be_encoded_are_refused(
    tmp_path: Path, values: NDArray[Any], told: str
) -> None:
    np.save(tmp_path / "rows.npy", values)
    with pytest.raises(RhobetaError, match=told):
        command.encode(of_shape((5,)), tmp_path / "rows.npy", out=tmp_path / "codes.npz")
    assert not (tmp_path / "codes.npz").exists()


def test_pictures_are_refused_where_vectors_are_expected(tmp_path: Path) -> None:
    with pytest.raises(RhobetaError, match="is a picture or a folder; the model expects vectors"):
        command.encode(of_shape((5,)), tmp_path, out=tmp_path / "codes.npz")


def test_colour_images_and_pictures_have_the_same_codes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), dtype=np.uint8)
    images[2] = images[2, :, :, :1]
    np.save(tmp_path / "images.npy", images)
    (tmp_path / "folder").mkdir()
    for number, image in enumerate(images[:2]):
        Image.fromarray(image).save(tmp_path / "folder" / f"{number}.png")
    # A grey picture stands for all three channels.
    Image.fromarray(images[2, :, :, 0]).save(tmp_path / "folder" / "2.png")
    codes = []
    for path in (tmp_path / "images.npy", tmp_path / "folder"):
        command.encode(of_shape((4, 6, 3)), path, out=tmp_path / "codes.npz")
        with np.load(tmp_path / "codes.npz") as archive:
            codes.append(archive["code"])
    np.testing.assert_array_equal(*codes)
    np.testing.assert_array_equal(codes[0], codes_of(of_shape((4, 6, 3)).model, pixels_of(images)))
    assert open_images(tmp_path / "folder", (4, 6, 3)).notes == []


def test_channels_before_the_pixels_are_explained(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros((2, 3, 4, 6), np.uint8))
    with pytest.raises(RhobetaError, match=r"with images\.transpose\(0, 2, 3, 1\)"):
        command.encode(of_shape((4, 6, 3)), tmp_path / "images.npy", out=tmp_path / "codes.npz")
