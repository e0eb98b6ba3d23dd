"""Damaged inputs for every reader of foreign bytes: refused or read right, in bounded memory.

Hypothesis draws the inputs: right files with random faults, files of well-formed but wrong values,
and for files with a checksum mostly inputs whose checksum is right, so that more than the checksum
is tried. Every run draws the same inputs.
"""

import copy
import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from ruamel.yaml import YAML
from safetensors.numpy import load
from safetensors.numpy import save as save_tensors

from helpers import idx_bytes, shipped_values, with_right_checksum
from helpers.injected import limited_memory
from helpers.own import read_own
from rhobeta.config.params import flatten, load_params
from rhobeta.config.presets import read_preset
from rhobeta.data.datasets import IMAGES_AND_LABELS
from rhobeta.data.idx import read_idx
from rhobeta.data.raw import describe_raw, read_raw
from rhobeta.data.samples import Samples
from rhobeta.data.splits import SPLIT_NAMES, everything, read_manifest, read_split, write_splits
from rhobeta.errors import RhobetaError
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import ModelDescription, model_from_bytes, model_to_bytes
from rhobeta.serving.image_files import open_images
from rhobeta.utils.checksum import write_json_with_checksum
from rhobeta.utils.files import sha256_of_bytes

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of damaged pictures

Inputs = st.SearchStrategy[bytes]


@dataclass(frozen=True)
class Reader:
    """One reader: its inputs, how it reads them, and a check of what it read."""

    inputs: Inputs
    read: Callable[[Path, bytes], Any]
    check: Callable[[bytes, Any], object] = lambda content, answer: None
    examples: int = 100


# Faults

NUMBERS = (0, 1, 127, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)
TOKENS = (
    b"\0", b"-1", b"NaN", b"Infinity", b".inf", b"1e999", b"9" * 5000, b"[" * 5000, b"{" * 5000,
    b"{a: " * 500, b"- " * 500, b"&a [*a, *a]", b"<<: *a", b"!!python/object/apply:os.abort []",
    b'!!int ""', b"!!binary x", b"%YAML 1.1\n---\n", b"${oc.env:HOME}", b"\xff\xfe",
    b"\xed\xa0\x80", b'"\\ud800"', b"\r\n\t",
)  # fmt: skip
DEEP = "@deep@"
VALUES = (
    None, True, False, 0, -1, 1, 3, 256, 2**31, 2**63, 2**64, 10**400, 0.0, -0.0, 0.5, 1e-320,
    1e308, float("nan"), float("inf"), "", "0", "kl", "none", "relu", "topk", "F64", "I64", "U8",
    "\0", "\n", "\ud800", "x" * 10_000, "../../x", "/dev/zero", "${oc.env:HOME}", [], {}, [[]],
    [0], [1, 1], [2**40], [-1, 4], ["a"], {"a": 1}, [1] * 300, DEEP,
)  # fmt: skip
PIECES = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(TOKENS),
    st.sampled_from(NUMBERS).map(lambda number: number.to_bytes(8, "little")),
    st.sampled_from(NUMBERS[:-2]).map(lambda number: number.to_bytes(4, "big")),
)
FAULTS = st.lists(
    st.tuples(st.sampled_from(("overwrite", "insert", "delete", "cut")), st.floats(0, 1), PIECES),
    min_size=1,
    max_size=4,
)


def damaged(content: bytes) -> Inputs:
    """`content` with one to four faults anywhere, or as it is."""

    def apply(faults: list[tuple[str, float, bytes]]) -> bytes:
        found = bytearray(content)
        for kind, place, piece in faults:
            at = int(place * len(found))
            end = {"overwrite": at + len(piece), "insert": at, "delete": at + 4, "cut": None}[kind]
            found[at:end] = b"" if kind in ("delete", "cut") else piece
        return bytes(found)

    return st.one_of(FAULTS.map(apply), st.just(content))


@st.composite
def changed(draw: st.DrawFn, tree: Any) -> str:
    """The JSON of nested plain values, up to three of them changed, absent or renamed."""
    root = [json.loads(json.dumps(tree))]
    for _ in range(draw(st.integers(0, 3))):
        owner, key = draw(st.sampled_from(list(_places(root))))
        what = draw(st.sampled_from(("value", "value", "value", "absent", "renamed")))
        if what == "value" or owner is root:
            owner[key] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif what == "absent":
            del owner[key]
        elif isinstance(owner, dict):
            owner[f"{key}x"] = owner.pop(key)
    return json.dumps(root[0]).replace(f'"{DEEP}"', "[" * 20_000 + "]" * 20_000)


def _places(node: Any) -> Any:
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def with_checksum(inputs: Inputs) -> Inputs:
    """Mostly with a right checksum, without which all would be refused for that alone."""
    return st.one_of(inputs, *[inputs.map(with_right_checksum)] * 4)


def changed_safetensors(content: bytes) -> Inputs:
    """A safetensors file with faults, or with a changed header."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    inner = header.get("__metadata__", {}).get("rhobeta")

    def with_header(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode("utf-8", "surrogatepass") + data

    ways = [damaged(content), changed(header).map(with_header)]
    if inner is not None:
        described = changed(json.loads(inner)).map(
            lambda text: with_header(json.dumps(header | {"__metadata__": {"rhobeta": text}}))
        )
        ways.append(described)
    return st.one_of(ways)


# Right files

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 4, 3), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 3
DATA = Samples(IMAGES, LABELS)
ARCHITECTURE = Architecture((4, 3), (5,), "sigmoid", "relu", "sigmoid")
MODEL = model_to_bytes(
    Autoencoder(ARCHITECTURE, seed=1),
    ModelDescription(ARCHITECTURE, {"penalty.kind": "kl", "penalty.rho": 0.1}, "0" * 64, 1, 0.5),
)
RECORD = TestRecord(
    activity=RANDOM.random((6, 3), dtype=np.float32),
    examples=np.array([1, 0, 3]),
    reconstructions=RANDOM.random((3, 8), dtype=np.float32),
    feature_mse=RANDOM.random(8),
    l0_counts=np.array([1, 2, 3, 0]),
    l0_threshold=np.array([0.1]),
    top_units=np.array([2, 0, 1]),
    top_rows=RANDOM.integers(-1, 6, (3, 9)),
).to_bytes()


def saved(save: Callable[..., Any], *arrays: Any, **named: Any) -> bytes:
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


@st.composite
def npy_with_any_header(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from(("|u1", "|b1", "|O", "<f8", ">f2", "<U9", "<U2000000000", "|V0")))
    sizes = draw(st.lists(st.sampled_from((-1, 0, 1, 3, 4, 12, 2**31, 2**62)), max_size=4))
    order = draw(st.booleans())
    header = repr({"descr": kind, "fortran_order": order, "shape": tuple(sizes)}).encode()
    return b"\x93NUMPY\2\0" + struct.pack("<I", len(header)) + header + IMAGES.tobytes()


def npz_of(npy: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", npy)
        archive.writestr("labels.npy", saved(np.save, LABELS))
    return file.getvalue()


def picture(mode: str, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGES[0]).convert(mode).save(file, kind)
    return file.getvalue()


# What was read is right


def equals_the_tensors(content: bytes, tensors: dict[str, np.ndarray]) -> None:
    expected = load(content)
    assert tensors.keys() == expected.keys()
    for name, values in tensors.items():
        np.testing.assert_array_equal(values, expected[name])
        assert np.isfinite(values).all()


def equals_the_yaml(content: bytes, found: dict[str, Any]) -> None:
    values = YAML(typ="safe").load(content.decode())
    assert found == {f"{s}.{k}": v for s, section in values.items() for k, v in section.items()}


def is_a_batch(content: bytes, rows: np.ndarray) -> None:
    assert rows.dtype == np.float32
    assert rows.shape[1] == 12
    assert rows.min() >= 0
    assert rows.max() <= 1


def equals_an_idx(content: bytes, values: np.ndarray) -> None:
    sizes = struct.unpack_from(f">{content[3]}I", content, 4)
    assert values.shape == sizes
    assert content == idx_bytes(values)


# Readers that need a file


def own(name: str, beside: Mapping[str, bytes] | None = None) -> Callable[[Path, bytes], Any]:
    def read(folder: Path, content: bytes) -> Samples:
        for other, right_content in (beside or {}).items():
            (folder / other).write_bytes(right_content)
        (folder / name).write_bytes(content)
        return read_own(folder)[0].train

    return read


def images(name: str) -> Callable[[Path, bytes], Any]:
    def read(folder: Path, content: bytes) -> np.ndarray:
        (folder / name).write_bytes(content)
        return np.concatenate(list(open_images(folder / name, (4, 3)).batches(5)))

    return read


def params(folder: Path, content: bytes) -> dict[str, Any]:
    (folder / "params.yaml").write_bytes(content)
    return flatten(load_params(folder / "params.yaml"))


def preset(folder: Path, content: bytes) -> dict[str, Any]:
    (folder / "mine.yaml").write_bytes(content)
    return read_preset(folder, "mine")


def splits(folder: Path) -> dict[str, Any]:
    write_splits(
        folder,
        dict.fromkeys(SPLIT_NAMES, everything(DATA)),
        raw_files={},
        parameters={"data.seed": 0},
    )
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    return manifest


def manifest(folder: Path, content: bytes) -> Any:
    (folder / "manifest.json").write_bytes(content)
    return read_manifest(folder)


def split(folder: Path, content: bytes) -> dict[str, np.ndarray]:
    """Read a split with the manifest that names its bytes."""
    named = splits(folder)
    (folder / "train.safetensors").write_bytes(content)
    named["splits"]["train"]["sha256"] = sha256_of_bytes(content)
    digests = "".join(named["splits"][name]["sha256"] for name in SPLIT_NAMES)
    write_json_with_checksum(
        folder / "manifest.json", named | {"sha256": sha256_of_bytes(digests.encode())}
    )
    return vars(read_split(folder, "train", read_manifest(folder)))


def raw(folder: Path, content: bytes) -> Any:
    for name, values in zip(IMAGES_AND_LABELS[0], (IMAGES, LABELS), strict=True):
        (folder / name).write_bytes(idx_bytes(values))
    (folder / "dataset.json").write_bytes(content)
    return read_raw(folder)


def right(make: Callable[[Path], object], name: str, folder: Path) -> bytes:
    folder.mkdir(parents=True)
    make(folder)
    return (folder / name).read_bytes()


def model_state(folder: Path, content: bytes) -> dict[str, np.ndarray]:
    found = model_from_bytes(content, name="it").model.state_dict()
    return {name: values.numpy() for name, values in found.items()}


def record(folder: Path, content: bytes) -> dict[str, np.ndarray]:
    found = vars(TestRecord.from_bytes(content, name="it"))
    return {name: values for name, values in found.items() if name != "belongs_to"}


def make_raw(folder: Path) -> None:
    for name, values in zip(IMAGES_AND_LABELS[0], (IMAGES, LABELS), strict=True):
        (folder / name).write_bytes(idx_bytes(values))
    describe_raw(folder, name="own")


def readers(folder: Path) -> dict[str, Reader]:
    """All readers by name; `folder` is for right files that have to be made there."""
    idx = idx_bytes(IMAGES)
    npz = saved(np.savez_compressed, images=IMAGES, labels=LABELS)
    values = shipped_values()
    manifest_json = right(splits, "manifest.json", folder / "splits")
    train = (folder / "splits" / "train.safetensors").read_bytes()
    raw_json = right(make_raw, "dataset.json", folder / "raw")
    floats = (IMAGES / 255).astype(np.float32)
    vectors = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
    saved_tensors = save_tensors({"x": vectors, "y": np.arange(8, dtype=np.uint8)})
    file = io.BytesIO()
    pd.DataFrame(vectors, columns=list("abc")).to_parquet(file)
    table = file.getvalue()
    npys = [saved(np.save, array) for array in (IMAGES, floats, IMAGES.astype(">i8"))]
    kinds = [("L", "PNG"), ("RGB", "BMP"), ("LA", "PNG"), ("L", "TIFF"), ("L", "GIF"), ("1", "PPM")]
    pictures = [picture(*kind) for kind in kinds]
    return {
        "idx": Reader(damaged(idx), lambda _, content: read_idx(content, name="it"), equals_an_idx),
        "idx.gz": Reader(
            st.one_of(damaged(gzip.compress(idx)), damaged(idx).map(gzip.compress)),
            own("train-images.gz", {"train-labels": idx_bytes(LABELS)}),
        ),
        "npz": Reader(
            st.one_of(damaged(npz), npy_with_any_header().map(npz_of)),
            own("mine.npz"),
        ),
        "safetensors": Reader(
            changed_safetensors(saved_tensors), own("mine.safetensors"), examples=50
        ),
        "parquet": Reader(damaged(table), own("mine.parquet"), examples=50),
        "params": Reader(changed(values).map(str.encode), params, equals_the_yaml, examples=25),
        "preset": Reader(
            st.one_of(
                damaged(b"penalty:\n  kind: none\n  rho: 0.1\n"),
                changed({"penalty": {"kind": "none"}}).map(str.encode),
            ),
            preset,
            equals_the_yaml,
        ),
        "model": Reader(with_checksum(changed_safetensors(MODEL)), model_state, equals_the_tensors),
        "evaluation": Reader(
            with_checksum(changed_safetensors(RECORD)), record, equals_the_tensors
        ),
        "split": Reader(changed_safetensors(train), split, equals_the_tensors, examples=50),
        "manifest": Reader(
            with_checksum(changed(json.loads(manifest_json)).map(str.encode)), manifest
        ),
        "raw": Reader(with_checksum(changed(json.loads(raw_json)).map(str.encode)), raw),
        "images.npy": Reader(
            st.one_of(npy_with_any_header(), *map(damaged, npys)), images("mine.npy"), is_a_batch
        ),
        "images.npz": Reader(
            st.one_of(damaged(npz), npy_with_any_header().map(npz_of)),
            images("mine.npz"),
            is_a_batch,
        ),
        "picture": Reader(st.one_of(*map(damaged, pictures)), images("mine.png"), is_a_batch),
    }


NAMES = (
    "idx", "idx.gz", "npz", "safetensors", "parquet", "params", "preset", "model", "evaluation",
    "split", "manifest", "raw", "images.npy", "images.npz", "picture",
)  # fmt: skip


def try_reader(reader: Reader, folder: Path, examples: int) -> None:
    outcomes = {"read": 0, "refused": 0}

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(reader.inputs)
    def run(content: bytes) -> None:
        try:
            with limited_memory(512 << 20):
                answer = reader.read(folder, content)
        except RhobetaError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            reader.check(content, answer)

    run()
    # Else the inputs do not try the reader, or the check says nothing.
    assert min(outcomes.values()) > 0, outcomes


@pytest.mark.parametrize("name", NAMES)
def test_damaged_input_is_refused_or_read_right(tmp_path: Path, name: str) -> None:
    reader = readers(tmp_path / "right")[name]
    try_reader(reader, tmp_path, reader.examples)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_damaged_inputs_are_refused_or_read_right(tmp_path: Path, name: str) -> None:
    reader = readers(tmp_path / "right")[name]
    try_reader(reader, tmp_path, 4 * reader.examples)
