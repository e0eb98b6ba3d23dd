"""Small inputs that stand for gigabytes are refused, in a process that has not got them."""

import gzip
import io
import json
import os
import resource
import signal
import struct
import traceback
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from helpers import with_right_checksum
from rhobeta.config.params import Params, check_params, load_params, read_yaml
from rhobeta.data.datasets import DataFile, DataSet
from rhobeta.data.downloads import fetch_all
from rhobeta.data.idx import read_idx
from rhobeta.data.own import read_own
from rhobeta.data.raw import read_raw
from rhobeta.data.splits import read_manifest
from rhobeta.errors import RhobetaError
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.serialization import model_from_bytes
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum

GIB = 1 << 30
MIB = 1 << 20


def refused(
    action: Callable[[], object], *, memory: int = 256 * MIB, filled: int = 64 * MIB
) -> str:
    """The message that `action` is refused with, in a child with `memory` bytes more than this.

    It may fill `filled` bytes.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_in_child(action, memory, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read().decode()
    os.waitpid(child, 0)
    assert answer.startswith("refused"), answer or "the process ended"
    _, grown, message = answer.split(" ", 2)
    assert int(grown) <= filled >> 10, message
    return message


def _in_child(action: Callable[[], object], memory: int, writing: int) -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.alarm(60)
    try:
        answer = f"not refused: {action()!r}"
    except RhobetaError as error:
        answer = f"refused {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before} {error}"
    except BaseException:
        answer = traceback.format_exc()
    with os.fdopen(writing, "wb") as answers:
        answers.write(answer.encode(errors="backslashreplace"))
    return 0


def gzip_of_zeros(size: int, start: bytes = b"") -> bytes:
    """`start` and then zeros, `size` bytes in all, made without having them."""
    number, rest = divmod(size - len(start), 64 * MIB)
    piece = gzip.compress(bytes(64 * MIB), 1) if number else b""
    return gzip.compress(start + bytes(rest), 1) + number * piece


def idx_header(*sizes: int) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, 8, len(sizes), *sizes)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Four gigabytes of zeros."""
    return gzip_of_zeros(4 * GIB)


def test_gigabytes_of_zeros_as_own_data_are_refused(tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "train-images.gz").write_bytes(bomb)
    assert "IDX type 0x00" in refused(lambda: read_own(tmp_path))


@pytest.mark.parametrize("count", [(GIB - 15) // 784, 2**32 - 1])
def test_gigabytes_that_an_idx_header_declares_are_refused(tmp_path: Path, count: int) -> None:
    content = gzip_of_zeros(20 << 20, idx_header(count, 28, 28))
    (tmp_path / "train-images.gz").write_bytes(content)
    message = refused(lambda: read_own(tmp_path))
    assert "train-images.gz" in message
    assert ("truncated" if count < 2**31 else "at most 1024 MiB") in message


def test_an_idx_file_with_gigabytes_behind_its_end_is_read_to_the_end_alone(
    tmp_path: Path,
) -> None:
    content = gzip_of_zeros(2 * GIB, idx_header(10, 2, 2))
    (tmp_path / "train-images.gz").write_bytes(content)
    assert "is too long" in refused(lambda: read_own(tmp_path), filled=16 * MIB)


def test_the_largest_compressed_file_is_just_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rhobeta.data.own._LARGEST_UNPACKED", 12 + 1000)
    path = tmp_path / "train-labels.gz"
    for count, taken in ((1004, True), (1005, False)):
        path.write_bytes(gzip_of_zeros(8 + count, idx_header(count)))
        if taken:
            assert read_own(tmp_path)["train-labels-idx1-ubyte"].tolist() == [0] * count
        else:
            with pytest.raises(RhobetaError, match=r"declares 1,013 bytes.*\n.*gunzip"):
                read_own(tmp_path)


def npz_of(header: str, size: int, declared: int | None = None) -> bytes:
    """An .npz of which one array has this header and `size` zeros, or is said to have others."""
    encoded = header.encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        start = b"\x93NUMPY\2\0" + struct.pack("<I", len(encoded)) + encoded
        archive.writestr("images.npy", start + bytes(size))
        archive.writestr("labels.npy", b"")
    content = bytearray(file.getvalue())
    if declared is not None:
        # The field of the size in the first entry of the archive's directory.
        at = content.index(b"PK\1\2") + 24
        content[at : at + 4] = struct.pack("<I", declared)
    return bytes(content)


def header_of(*shape: int) -> str:
    return f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}}}"


def test_an_npz_of_gigabytes_of_zeros_is_refused(tmp_path: Path) -> None:
    header = header_of(2 * GIB // 784, 28, 28)
    (tmp_path / "mine.npz").write_bytes(npz_of(header, 128 * MIB, 2 * GIB))
    message = refused(lambda: read_own(tmp_path))
    assert "images unpacks to 2,147,483,648 bytes" in message
    assert "np.savez" in message


@pytest.mark.parametrize("declared", [0, 10, 90, 1 << 20])
def test_no_more_of_an_npz_is_unpacked_than_it_declares(tmp_path: Path, declared: int) -> None:
    header = header_of(128 * MIB // 784, 28, 28)
    (tmp_path / "mine.npz").write_bytes(npz_of(header, 128 * MIB, declared))
    assert "is not a readable .npz" in refused(lambda: read_own(tmp_path), filled=16 * MIB)


@pytest.mark.parametrize("count", [2**20, 2**26, 2**40, 2**62])
def test_an_npz_that_declares_more_than_it_has_is_refused(tmp_path: Path, count: int) -> None:
    (tmp_path / "mine.npz").write_bytes(npz_of(header_of(count, 28, 28), 0))
    assert "mine.npz is not a readable .npz file" in refused(lambda: read_own(tmp_path))


@pytest.mark.parametrize("kind", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_npz_compressed_as_numpy_never_does_is_refused(tmp_path: Path, kind: int) -> None:
    with zipfile.ZipFile(tmp_path / "mine.npz", "w", kind) as archive:
        file = io.BytesIO()
        np.save(file, np.zeros((3, 2, 2), np.uint8))
        archive.writestr("images.npy", file.getvalue())
    with pytest.raises(RhobetaError, match="images is compressed in another way"):
        read_own(tmp_path)


@pytest.mark.parametrize("length", [0, 2, 2**32, 2**63, 2**64 - 1, 100_000_001])
def test_a_header_of_safetensors_that_declares_gigabytes_is_refused(length: int) -> None:
    content = with_right_checksum(struct.pack("<Q", length) + b"{}" + bytes(100))
    for read in (model_from_bytes, TestRecord.from_bytes):
        refused(partial(read, content, name="it"))


def test_a_model_that_claims_gigabytes_is_refused() -> None:
    shape = [2**20, 2**20]
    tensor = {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * 2**40]}
    architecture = {
        "image_shape": [1024, 1024], "hidden_sizes": [2**20], "code_activation": "sigmoid",
        "hidden_activation": "relu", "output_activation": "sigmoid", "tied_weights": True, "k": None,  # noqa: E501
    }  # fmt: skip
    for tensors in ({"encoder.0.weight": tensor}, {}):
        described = {
            "format": "rhobeta-autoencoder-3", "architecture": architecture, "best_epoch": 1,
            "_seal": EMPTY_CHECKSUM,
            "parameters": {"penalty.kind": "none"}, "data_sha256": "0" * 64, "best_loss": 0.5,
        }  # fmt: skip
        header = json.dumps(
            {"__metadata__": {"rhobeta": json.dumps(described)}, **tensors}
        ).encode()
        content = add_checksum(struct.pack("<Q", len(header)) + header)
        refused(partial(model_from_bytes, content, name="it"))


LAUGHS = "\n".join(
    ["a0: &a0 [lol]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
)
MERGES = "\n".join(
    ["a0: &a0 {x: 1}"]
    + [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], y{n}: 1}}" for n in range(1, 12)]
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, r"refers to *a0"),
        (MERGES, r"refers to *a0"),
        ("&a [*a]", "refers to *a"),
        ("[" * 200_000, "nests deeper than 16"),
        ("? " * 100_000, "nests deeper than 16"),
        ("- " * 100_000, "nests deeper than 16"),
        ("{a: " * 60_000, "nests deeper than 16"),
        ("x: 1\n" + "#" * (1 << 28), "is larger than 256 KiB"),
        ("training: 0x" + "f" * 200_000, "found a number that is too long to print"),
        ("training: [" + "0x" + "f" * 200_000 + "]", "found a number that is too long to print"),
        ("training: " + "x" * 200_000, "found 'xxxx"),
        ("\n".join(f"key{n}: 1" for n in range(20_000)), "more"),
        ("training: !!int ''", "is not valid YAML"),
        ("training: !!bool x", "is not valid YAML"),
        ('training: "\\UFFFFFFFF"', "is not valid YAML"),
    ],
    ids=lambda value: value[:12],
)
def test_parameters_that_stand_for_more_are_refused_in_few_words(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "params.yaml").write_text(text)
    found = refused(lambda: load_params(tmp_path / "params.yaml"))
    assert message in found
    assert len(found) < 10_000


def test_sixteen_levels_and_256_kib_are_just_taken(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("[" * 16 + "]" * 16)
    value = read_yaml(path)
    for _ in range(15):
        (value,) = value
    assert value == []
    path.write_text("a: 1 #" + "x" * ((1 << 18) - 6))
    assert read_yaml(path) == {"a": 1}
    for text in ("[" * 17 + "]" * 17, "a: 1 #" + "x" * ((1 << 18) - 5)):
        path.write_text(text)
        with pytest.raises(RhobetaError, match=r"x\.yaml (nests deeper|is larger)"):
            read_yaml(path)


def test_fifty_faults_are_named_and_the_rest_counted() -> None:
    sections = len(Params.model_fields)
    for count, more in ((50 - sections, None), (50, f"and {sections} more")):
        with pytest.raises(RhobetaError) as caught:
            check_params({f"key{n}": 1 for n in range(count)}, where="it")
        lines = str(caught.value).splitlines()[1:]
        # All sections are missing as well.
        assert len(lines) == (count + sections if more is None else 51)
        assert (lines[-1].strip() == more) == (more is not None)


def test_json_that_nests_without_end_is_refused(tmp_path: Path) -> None:
    deep = add_checksum(f'{{"seal": "{EMPTY_CHECKSUM}", "name": '.encode() + b"[" * 1_000_000)
    (tmp_path / "manifest.json").write_bytes(deep)
    assert "manifest.json does not" in refused(lambda: read_manifest(tmp_path))
    (tmp_path / "dataset.json").write_bytes(deep)
    assert "dataset.json does not" in refused(lambda: read_raw(tmp_path))


def test_devices_pipes_and_folders_in_the_place_of_files_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "train-images").symlink_to("/dev/zero")
    (tmp_path / "train-labels.gz").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "mine.npz")
    (tmp_path / "other.npz").mkdir()
    assert "holds no data set" in refused(lambda: read_own(tmp_path))


def test_gigabytes_or_devices_in_the_user_s_folder_are_refused(tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "x.gz").write_bytes(bomb)
    (tmp_path / "x").symlink_to("/dev/zero")
    with (tmp_path / "raw").open("wb") as file:
        file.truncate(4 * GIB)
    data_set = DataSet("tiny", (DataFile("x", "0" * 64, "0" * 64),))
    into = tmp_path / "into"
    into.mkdir()
    fetch = partial(fetch_all, data_set, into, folder=str(tmp_path))
    assert "x.gz: it unpacks to more than 256 MiB" in refused(fetch, memory=GIB, filled=GIB)
    (tmp_path / "x.gz").unlink()
    (tmp_path / "x.gz").symlink_to(tmp_path / "raw")
    assert "x.gz: it has more than 256 MiB" in refused(fetch)


def test_a_link_to_a_file_is_data(tmp_path: Path) -> None:
    content = idx_header(3) + b"abc"
    (tmp_path / "elsewhere").write_bytes(gzip.compress(content))
    (tmp_path / "train-labels.gz").symlink_to(tmp_path / "elsewhere")
    found = read_own(tmp_path)["train-labels-idx1-ubyte"]
    np.testing.assert_array_equal(found, read_idx(content, name="it"))


@pytest.mark.parametrize("value", ["a\0b", "a\nb", "\ud800", "\x1b[2J", "${oc.env:HOME}"])
@pytest.mark.parametrize("key", ["experiment", "data_folder"])
def test_text_that_would_break_out_is_refused(tmp_path: Path, key: str, value: str) -> None:
    from helpers import with_changes

    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(with_changes({f"runtime.{key}": value})))
    with pytest.raises(RhobetaError) as caught:
        load_params(path)
    assert f"runtime.{key}: found {value!a}, allowed: text without control" in str(caught.value)
    str(caught.value).encode()
