"""Small inputs that stand for gigabytes are refused, in a process that has not got them."""

import gzip
import io
import json
import os
import struct
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from helpers import with_changes, with_right_checksum
from helpers.injected import limited_memory
from helpers.own import read_own
from rhobeta.config.params import load_params, read_yaml
from rhobeta.data.datasets import DataFile, DataSet
from rhobeta.data.downloads import fetch_all
from rhobeta.data.raw import read_raw
from rhobeta.data.splits import read_manifest
from rhobeta.errors import RhobetaError
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.serialization import model_from_bytes
from rhobeta.serving.image_files import open_images
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum

GIB = 1 << 30
MIB = 1 << 20


def refused(action: Callable[[], object], *, memory: int = 256 * MIB) -> str:
    """The message that `action` is refused with, where it may allocate `memory` bytes."""
    with limited_memory(memory), pytest.raises(RhobetaError) as caught:
        action()
    return str(caught.value)


def gzip_of_zeros(size: int, start: bytes = b"") -> bytes:
    """`start` and then zeros, `size` bytes in all, made without having them."""
    number, rest = divmod(size - len(start), 64 * MIB)
    piece = gzip.compress(bytes(64 * MIB), 1) if number else b""
    return gzip.compress(start + bytes(rest), 1) + number * piece


def idx_header(*sizes: int) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)


@pytest.mark.parametrize(
    ("size", "start", "message"),
    [
        (4 * GIB, b"", "IDX type 0x00"),
        (20 * MIB, idx_header((GIB - 15) // 784, 28, 28), "truncated"),
        (20 * MIB, idx_header(2**32 - 1, 28, 28), "at most 1024 MiB"),
        (2 * GIB, idx_header(10, 2, 2), "too long"),
    ],
    ids=["zeros", "declared", "declared above the limit", "behind the end"],
)
def test_gzipped_idx_of_gigabytes_is_refused(
    tmp_path: Path, size: int, start: bytes, message: str
) -> None:
    (tmp_path / "train-labels").write_bytes(idx_header(1) + b"0")
    (tmp_path / "train-images.gz").write_bytes(gzip_of_zeros(size, start))
    assert message in refused(lambda: read_own(tmp_path))


def test_limit_of_a_compressed_file_is_just_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rhobeta.data.numpy_files.LARGEST_UNPACKED", 8 + 1004)
    (tmp_path / "train-images").write_bytes(idx_header(1004, 1, 1) + bytes(1004))
    path = tmp_path / "train-labels.gz"
    path.write_bytes(gzip_of_zeros(8 + 1004, idx_header(1004)))
    assert len(read_own(tmp_path)[0].train.labels) == 1004
    path.write_bytes(gzip_of_zeros(8 + 1005, idx_header(1005)))
    with pytest.raises(RhobetaError, match=r"declares 1,013 bytes.*\n.*gunzip"):
        read_own(tmp_path)


def npz_of(shape: tuple[int, ...], size: int, declared: int | None = None) -> bytes:
    """An .npz whose array has a header of `shape` and `size` zeros; it may declare another size."""
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}".encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        start = b"\x93NUMPY\2\0" + struct.pack("<I", len(header)) + header
        archive.writestr("images.npy", start + bytes(size))
        labels = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}"
        start = b"\x93NUMPY\2\0" + struct.pack("<I", len(labels)) + labels
        archive.writestr("labels.npy", start + b"0")
    content = bytearray(file.getvalue())
    if declared is not None:
        # The field of the size in the first entry of the archive's directory.
        at = content.index(b"PK\1\2") + 24
        content[at : at + 4] = struct.pack("<I", declared)
    return bytes(content)


def test_npz_of_gigabytes_of_zeros_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(npz_of((2 * GIB // 784, 28, 28), 32 * MIB, 2 * GIB))
    assert "images unpacks to 2,147,483,648 bytes" in refused(lambda: read_own(tmp_path))


@pytest.mark.parametrize("declared", [0, 90, 1 << 20])
def test_npz_is_unpacked_no_further_than_declared(tmp_path: Path, declared: int) -> None:
    (tmp_path / "mine.npz").write_bytes(npz_of((32 * MIB // 784, 28, 28), 32 * MIB, declared))
    message = refused(lambda: read_own(tmp_path))
    assert "is not a readable .npz" in message


@pytest.mark.parametrize("count", [2**26, 2**62])
def test_npz_that_declares_more_than_it_has_is_refused(tmp_path: Path, count: int) -> None:
    (tmp_path / "mine.npz").write_bytes(npz_of((count, 28, 28), 0))
    assert "mine.npz is not a readable .npz file" in refused(lambda: read_own(tmp_path))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_own_data_is_read_in_little_more_memory_than_it_has(
    tmp_path: Path, save: Callable[..., None]
) -> None:
    images = np.full((64 * MIB // 784, 28, 28), 200, np.uint8)
    save(tmp_path / "mine.npz", images=images, labels=np.zeros(len(images), np.uint8))
    del images
    with limited_memory(120 * MIB):
        assert read_own(tmp_path)[0].train.values.nbytes > 63 * MIB


def test_encode_refuses_gigabytes_of_zeros_as_own_data_does(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(npz_of((2 * GIB // 784, 28, 28), 32 * MIB, 2 * GIB))
    found = refused(lambda: open_images(tmp_path / "mine.npz", (28, 28)))
    assert "images unpacks to 2,147,483,648 bytes" in found


def test_header_of_an_array_is_read_no_further_than_numpy_allows(tmp_path: Path) -> None:
    header = b"\x93NUMPY\2\0" + struct.pack("<I", GIB) + b"{"
    with (tmp_path / "mine.npy").open("wb") as file:
        file.write(header)
        file.truncate(GIB)
    assert "array header" in refused(lambda: open_images(tmp_path / "mine.npy", (28, 28)))


def test_tiff_of_many_frames_is_refused_at_the_second(tmp_path: Path) -> None:
    # Directories of one tag each, chained; counting them takes Pillow quadratic time.
    count, tags = 100_000, ((256, 4), (257, 4), (258, 8), (259, 1), (262, 1), (273, 0), (279, 16))
    size = 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    chain = [
        struct.pack("<H", len(tags)) + entries + struct.pack("<I", 8 + size * (n + 1))
        for n in range(count)
    ]
    (tmp_path / "long.tif").write_bytes(b"II*\0" + struct.pack("<I", 8) + b"".join(chain))
    started = time.perf_counter()
    found = refused(lambda: list(open_images(tmp_path / "long.tif", (4, 4)).batches(1)))
    assert "holds several pictures" in found
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_npz_compressed_as_numpy_never_does_is_refused(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w", kind) as archive:
        for name in ("images", "labels"):
            archive.writestr(f"{name}.npy", b"anything")
    with pytest.raises(RhobetaError, match="labels is compressed in another way"):
        read_own(tmp_path)


def test_gigabytes_in_the_folder_of_the_user_are_refused(tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    data_set = DataSet("tiny", (DataFile("x", "0" * 64, "0" * 64),))
    fetch = partial(fetch_all, data_set, into, folder=tmp_path)
    (tmp_path / "x").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "x.gz")
    assert "neither x nor x.gz" in refused(fetch)
    (tmp_path / "x.gz").unlink()
    (tmp_path / "x.gz").write_bytes(gzip_of_zeros(4 * GIB))
    assert "x.gz: it unpacks to more than 256 MiB" in refused(fetch, memory=GIB)
    with (tmp_path / "x.gz").open("wb") as file:
        file.truncate(4 * GIB)
    assert "x.gz: it has more than 256 MiB" in refused(fetch)


@pytest.mark.parametrize("length", [0, 2, 2**32, 2**64 - 1, 100_000_001])
def test_safetensors_header_that_declares_gigabytes_is_refused(length: int) -> None:
    content = with_right_checksum(struct.pack("<Q", length) + b"{}" + bytes(100))
    for read in (model_from_bytes, TestRecord.from_bytes):
        refused(partial(read, content, name="it"))


@pytest.mark.parametrize("has_tensor", [True, False])
def test_model_that_claims_gigabytes_is_refused(has_tensor: bool) -> None:
    shape = [2**20, 2**20]
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * 2**40]}
    architecture = {
        "sample_shape": [1024, 1024], "hidden_sizes": [2**20], "code_activation": "sigmoid",
        "hidden_activation": "relu", "output_activation": "sigmoid", "tied_weights": True,
        "k": None,
    }  # fmt: skip
    described = {
        "format": "rhobeta-autoencoder-3", "architecture": architecture, "best_epoch": 1,
        "_seal": EMPTY_CHECKSUM, "parameters": {"penalty.kind": "none"},
        "data_sha256": "0" * 64, "best_loss": 0.5,
    }  # fmt: skip
    header = {"__metadata__": {"rhobeta": json.dumps(described)}}
    text = json.dumps(header | ({"encoder.0.weight": tensor} if has_tensor else {})).encode()
    content = add_checksum(struct.pack("<Q", len(text)) + text)
    refused(partial(model_from_bytes, content, name="it"))


LAUGHS = "\n".join(
    ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, r"refers to *a0"),
        ("&a [*a]", "refers to *a"),
        ("[" * 200_000, "nests deeper than 16"),
        ("- " * 100_000, "nests deeper than 16"),
        ("x: 1\n" + "#" * (1 << 28), "is larger than 256 KiB"),
        ("training: 0x" + "f" * 200_000, "training"),
        ("training: " + "x" * 200_000, "training"),
        ("\n".join(f"key{n}: 1" for n in range(2_000)), "more"),
        ("training: !!int ''", "is not valid YAML"),
        ('training: "\\UFFFFFFFF"', "is not valid YAML"),
    ],
    ids=lambda value: value[:12],
)
def test_params_that_stand_for_more_are_refused_briefly(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "params.yaml").write_text(text)
    found = refused(lambda: load_params(tmp_path / "params.yaml"), memory=GIB)
    assert message in found
    assert len(found) < 10_000


def test_limits_of_a_yaml_file_are_just_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for text in ("[" * 16 + "]" * 16, "a: 1 #" + "x" * ((1 << 18) - 6)):
        path.write_text(text)
        read_yaml(path)
    for text in ("[" * 17 + "]" * 17, "a: 1 #" + "x" * ((1 << 18) - 5)):
        path.write_text(text)
        with pytest.raises(RhobetaError, match=r"x\.yaml (nests deeper|is larger)"):
            read_yaml(path)


@pytest.mark.parametrize(
    ("name", "read"), [("manifest.json", read_manifest), ("dataset.json", read_raw)]
)
def test_json_that_nests_without_end_is_refused(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:
    text = f'{{"seal": "{EMPTY_CHECKSUM}", "name": {"[" * 1_000_000}'
    (tmp_path / name).write_bytes(add_checksum(text.encode()))
    assert name in refused(lambda: read(tmp_path))


def test_devices_pipes_and_folders_are_no_own_data(tmp_path: Path) -> None:
    (tmp_path / "train-images").symlink_to("/dev/zero")
    (tmp_path / "train-labels.gz").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "mine.npz")
    (tmp_path / "other.npz").mkdir()
    assert "holds no data set" in refused(lambda: read_own(tmp_path))


def test_link_to_a_file_is_own_data(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(gzip.compress(idx_header(3) + b"abc"))
    (tmp_path / "train-labels.gz").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train-images").write_bytes(idx_header(3, 1, 1) + b"abc")
    found = read_own(tmp_path)[0].train.labels
    np.testing.assert_array_equal(found, list(b"abc"))


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "\x1b[2J", "${oc.env:HOME}"])
@pytest.mark.parametrize("key", ["experiment", "data_folder"])
def test_control_characters_and_variables_are_refused(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(with_changes({f"runtime.{key}": value})))
    with pytest.raises(RhobetaError) as caught:
        load_params(path)
    assert f"runtime.{key}" in str(caught.value)
    str(caught.value).encode()


def test_half_of_a_surrogate_pair_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(with_changes({"runtime.experiment": "\ud800"})))
    with pytest.raises(RhobetaError, match=r"params\.yaml is not valid YAML:\nline 1, column"):
        load_params(path)
