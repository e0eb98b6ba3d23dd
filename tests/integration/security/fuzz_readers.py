"""The readers that are fuzzed: how inputs are made for each, and what makes an answer right."""

import gzip
import io
import json
import math
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fuzz_images
import numpy as np
from fuzz_mutations import HUGE, as_json, changed, damaged
from numpy.typing import NDArray
from ruamel.yaml import YAML

from helpers import shipped_values, with_right_checksum
from rhobeta.config.params import Params, check_params, flatten, load_params
from rhobeta.config.presets import overlaid, read_preset
from rhobeta.data.datasets import IMAGES_AND_LABELS, DataFile, NpmPackage
from rhobeta.data.downloads import NpmRegistry
from rhobeta.data.idx import read_idx, write_idx
from rhobeta.data.labelled import LabelledImages
from rhobeta.data.own import read_own
from rhobeta.data.raw import describe_raw, read_raw
from rhobeta.data.splits import SPLIT_NAMES, read_manifest, read_split, write_splits
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.weights import ModelDescription, model_from_bytes, model_to_bytes
from rhobeta.utils.checksum import write_sealed_json
from rhobeta.utils.files import sha256_of_bytes

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Reader:
    """How one reader is fuzzed."""

    make: Callable[[random.Random], bytes]
    """An input: the right one now and then, else one that is damaged."""
    read: Callable[[bytes], Any]
    """Reads an input, with `RhobetaError` (or `SourceError`) where it is refused."""
    check: Callable[[bytes, Any], None]
    """Fails unless the answer is right for the input."""


_NUMBERS = np.random.default_rng(0)
_IMAGES: Bytes = _NUMBERS.integers(0, 256, (12, 4, 3), dtype=np.uint8)
_LABELS: Bytes = np.arange(12, dtype=np.uint8) % 3
_DATA = LabelledImages(_IMAGES, _LABELS)


def _or_damaged(original: bytes, chance: random.Random) -> bytes:
    return original if chance.random() < 0.08 else damaged(original, chance)


def _sealed(make: Callable[[random.Random], bytes]) -> Callable[[random.Random], bytes]:
    """Mostly under a seal that is right for them, without which no damage would be read at all."""

    def sealed(chance: random.Random) -> bytes:
        content = make(chance)
        return content if chance.random() < 0.05 else with_right_checksum(content)

    return sealed


# IDX, plain and gzipped


def _idx_input(chance: random.Random) -> bytes:
    original = write_idx(_IMAGES)
    if chance.random() < 0.7:
        return _or_damaged(original, chance)
    rank = chance.choice((0, 1, 2, 3, 3, 4, 5, 64, 65, 255))
    sizes = [chance.choice((0, 1, 2, 3, 4, 12, 144, 2**16, 2**31, 2**32 - 1)) for _ in range(rank)]
    kind = chance.choice((8, 8, 8, 0, 9, 13, 255))
    return struct.pack(f">BBBB{rank}I", 0, 0, kind, rank, *sizes) + _IMAGES.tobytes()


def _declared(content: bytes) -> tuple[int, ...] | None:
    """The shape that `content` has by the description of the format, or None."""
    if len(content) < 4 or content[:3] != b"\0\0\x08" or content[3] == 0:
        return None
    ends = range(8, 8 + 4 * content[3], 4)
    if len(content) < ends[-1]:
        return None
    shape = tuple(int.from_bytes(content[end - 4 : end], "big") for end in ends)
    return shape if len(content) == ends[-1] + math.prod(shape) else None


def _check_idx(content: bytes, values: Bytes) -> None:
    assert values.dtype == np.uint8
    assert values.shape == _declared(content)
    assert values.tobytes() == content[len(content) - values.size :]


def _gz_input(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return gzip.compress(_idx_input(chance), compresslevel=1, mtime=0)
    return _or_damaged(gzip.compress(write_idx(_IMAGES), mtime=0), chance)


def _own(folder: Path, name: str) -> Callable[[bytes], dict[str, Bytes]]:
    folder.mkdir()

    def read(content: bytes) -> dict[str, Bytes]:
        (folder / name).write_bytes(content)
        return read_own(folder)

    return read


def _check_gz(content: bytes, arrays: dict[str, Bytes]) -> None:
    assert list(arrays) == ["train-images-idx3-ubyte"]
    _check_idx(gzip.decompress(content), arrays["train-images-idx3-ubyte"])


# .npz


def _npy(values: NDArray[Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


_NPY_HEADERS = (
    "{'descr': '|O', 'fortran_order': False, 'shape': (12,)}",
    f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**62},)}}",
    f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**31}, {2**31})}}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
    "{'descr': '|u1', 'fortran_order': True, 'shape': (3, 4)}",
    "{'descr': '<U2000000000', 'fortran_order': False, 'shape': (12,)}",
    "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (12,)}",
    "{'descr': '>i8', 'fortran_order': False, 'shape': (6,)}",
    "{'descr': '<M8[ns]', 'fortran_order': False, 'shape': (6,)}",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (1000000000000,)}",
    "{'descr': '|u1', 'fortran_order': False, 'shape': ()}",
    "__import__('os').abort()",
    "(" * 4000,
    "{" * 200,
)


def _npz_input(chance: random.Random) -> bytes:
    file = io.BytesIO()
    way = chance.random()
    np.savez_compressed(file, images=_IMAGES, labels=_LABELS)
    if way < 0.4:
        return _or_damaged(file.getvalue(), chance)
    members = {"images.npy": _npy(_IMAGES), "labels.npy": _npy(_LABELS)}
    name = chance.choice(list(members))
    if way < 0.7:
        members[name] = damaged(members[name], chance)
    else:
        header = chance.choice(_NPY_HEADERS).encode()
        members[name] = b"\x93NUMPY\2\0" + struct.pack("<I", len(header)) + header + bytes(48)
    if chance.random() < 0.1:
        members[chance.choice(("images", "../images.npy", "/labels", "x" * 500))] = b"text"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", chance.choice((0, 8, 12, 14))) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return file.getvalue()


def _check_npz(content: bytes, arrays: dict[str, Bytes]) -> None:
    names = dict(zip(IMAGES_AND_LABELS[0], ("images", "labels"), strict=True))
    assert arrays.keys() <= names.keys()
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        for name, values in arrays.items():
            assert values.dtype == np.uint8
            np.testing.assert_array_equal(values, archive[names[name]])


# Parameters and presets

shipped_values_once = cache(shipped_values)


def _check_values(values: Any, found: dict[str, Any]) -> None:
    expected = {f"{s}.{k}": v for s, section in values.items() for k, v in section.items()}
    assert found == expected
    for value in _leaves(found):
        assert value is None or type(value) in (bool, int, float, str)
        assert not isinstance(value, int | float) or math.isfinite(value)
        assert not isinstance(value, str) or (value.isprintable() and "${" not in value)


def _leaves(node: Any) -> Iterator[Any]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from _leaves(value)
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value)
    else:
        yield node


def _params_input(chance: random.Random) -> bytes:
    """A whole file, as text that is damaged or as JSON, which YAML contains, of changed values."""
    values = shipped_values_once()
    if chance.random() < 0.02:
        return json.dumps(values).encode()
    if chance.random() < 0.7:
        return as_json(changed(values, chance), chance).encode("utf-8", "surrogatepass")
    section = chance.choice(list(values))
    lines = [f"{section}:", *(f"  {k}: {json.dumps(v)}" for k, v in values[section].items())]
    return damaged("\n".join(lines).encode(), chance)


def _params_read(folder: Path) -> Callable[[bytes], Any]:
    folder.mkdir()

    def read(content: bytes) -> Any:
        (folder / "params.yaml").write_bytes(content)
        return load_params(folder / "params.yaml")

    return read


def _check_params(content: bytes, params: Params) -> None:
    _check_values(YAML(typ="safe").load(content.decode()), flatten(params))


def _values_read(content: bytes) -> Params:
    """Of values that have been parsed, which is most of the time that a file takes."""
    return check_params(_with_huge(json.loads(content)), where="it")


def _with_huge(node: Any) -> Any:
    """With numbers that are too long for JSON, but not for YAML, where they are asked for."""
    if isinstance(node, dict):
        return {key: _with_huge(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_huge(value) for value in node]
    return 16**5000 if node == HUGE else node


def _values_input(chance: random.Random) -> bytes:
    values = shipped_values_once()
    return json.dumps(values if chance.random() < 0.02 else changed(values, chance)).encode()


def _check_parsed(content: bytes, params: Params) -> None:
    _check_values(json.loads(content), flatten(params))


def _overlay_input(chance: random.Random) -> bytes:
    overlay = {"penalty": {"kind": "none", "rho": 0.1}, "model": {"hidden_sizes": [8, 4]}}
    if chance.random() < 0.3:
        return damaged(
            b"penalty:\n  kind: none\n  rho: 0.1\nmodel:\n  hidden_sizes: [8, 4]\n", chance
        )
    if chance.random() < 0.05:
        return json.dumps(overlay).encode()
    return as_json(changed(overlay, chance), chance).encode("utf-8", "surrogatepass")


def _overlay_read(folder: Path) -> Callable[[bytes], Any]:
    folder.mkdir()
    values = shipped_values_once()

    def read(content: bytes) -> Any:
        (folder / "mine.yaml").write_bytes(content)
        overlay = read_preset(folder, "mine")
        return overlay, overlaid(values, overlay, name="mine")

    return read


def _check_overlay(_: bytes, found: Any) -> None:
    overlay, params = found
    shipped = flatten(check_params(shipped_values_once(), where="shipped"))
    assert flatten(params) == shipped | overlay


# Safetensors: the model, the splits, what evaluation keeps


def _parts(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _joined(header: str, data: bytes) -> bytes:
    encoded = header.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(encoded)) + encoded + data


def _with_changed_header(original: bytes, chance: random.Random) -> bytes:
    header, data = _parts(original)
    return _joined(as_json(changed(header, chance), chance), data)


_KINDS = {"F32": "<f4", "F64": "<f8", "U8": "|u1", "I64": "<i8"}


def _tensors(content: bytes) -> dict[str, NDArray[Any]]:
    """The tensors of a safetensors file by the description of the format."""
    header, data = _parts(content)
    header.pop("__metadata__", None)
    found = {}
    for name, facts in header.items():
        start, end = facts["data_offsets"]
        values = np.frombuffer(data[start:end], dtype=_KINDS[facts["dtype"]])
        found[name] = values.reshape(facts["shape"])
    return found


_MODEL = model_to_bytes(
    Autoencoder(Architecture((4, 3), (5,), "sigmoid", "relu", "sigmoid"), seed=1),
    ModelDescription(
        architecture=Architecture((4, 3), (5,), "sigmoid", "relu", "sigmoid"),
        parameters={"penalty.kind": "kl", "penalty.rho": 0.05, "data.name": "own"},
        data_sha256="0" * 64,
        best_epoch=2,
        best_loss=0.25,
    ),
)


def _model_input(chance: random.Random) -> bytes:
    way = chance.random()
    if way < 0.4:
        return _or_damaged(_MODEL, chance)
    if way < 0.7:
        return _with_changed_header(_MODEL, chance)
    header, data = _parts(_MODEL)
    described = json.loads(header["__metadata__"]["rhobeta"])
    header["__metadata__"]["rhobeta"] = as_json(changed(described, chance), chance)
    return _joined(json.dumps(header), data)


def _check_model(content: bytes, saved: Any) -> None:
    expected = _tensors(content)
    state = saved.model.state_dict()
    assert state.keys() == expected.keys()
    for name, values in state.items():
        assert np.isfinite(expected[name]).all()
        np.testing.assert_array_equal(values.numpy(), expected[name])
    assert saved.rho is None or isinstance(saved.rho, float)
    again = model_from_bytes(model_to_bytes(saved.model, saved.description), name="again")
    assert again.description == saved.description or "NaN" in str(saved.description).upper()


def _write_splits(folder: Path) -> None:
    folder.mkdir()
    write_splits(
        folder,
        {"train": _DATA, "validation": _DATA.take(np.arange(6)), "test": _DATA.take(np.arange(3))},
        raw_files={"train-images-idx3-ubyte": "0" * 64},
        parameters={"data.name": "own", "data.seed": 0, "data.classes": [0, 1, 2]},
    )


def _manifest_input(folder: Path) -> Callable[[random.Random], bytes]:
    _write_splits(folder)
    return _changed_json((folder / "manifest.json").read_bytes())


def _changed_json(original: bytes) -> Callable[[random.Random], bytes]:
    def make(chance: random.Random) -> bytes:
        if chance.random() < 0.3:
            return _or_damaged(original, chance)
        tree = changed(json.loads(original), chance)
        return as_json(tree, chance).encode("utf-8", "surrogatepass")

    return make


def _manifest_read(folder: Path) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        (folder / "manifest.json").write_bytes(content)
        return read_manifest(folder)

    return read


def _check_manifest(folder: Path) -> Callable[[bytes, Any], None]:
    def check(_: bytes, manifest: Any) -> None:
        digests = [sha256_of_bytes((folder / f"{n}.safetensors").read_bytes()) for n in SPLIT_NAMES]
        assert [manifest.digest(name) for name in SPLIT_NAMES] == digests
        assert manifest.sha256 == sha256_of_bytes("".join(digests).encode())
        assert all(type(size) is int and size > 0 for size in manifest.image_shape)
        assert all(type(label) is int and 0 <= label <= 255 for label in manifest.classes)
        assert 0 <= manifest.mean_pixel <= 1
        str(manifest.parameters)

    return check


def _split_input(folder: Path) -> Callable[[random.Random], bytes]:
    _write_splits(folder)
    original = (folder / "train.safetensors").read_bytes()

    def make(chance: random.Random) -> bytes:
        if chance.random() < 0.5:
            return _or_damaged(original, chance)
        return _with_changed_header(original, chance)

    return make


def _split_read(folder: Path) -> Callable[[bytes], Any]:
    """Reads each split beside a manifest that names it, as no damage alone could make it."""
    manifest = json.loads((folder / "manifest.json").read_text())

    def read(content: bytes) -> Any:
        (folder / "train.safetensors").write_bytes(content)
        facts = manifest["splits"]
        facts["train"]["sha256"] = sha256_of_bytes(content)
        of_all = "".join(facts[name]["sha256"] for name in SPLIT_NAMES)
        manifest["sha256"] = sha256_of_bytes(of_all.encode())
        write_sealed_json(folder / "manifest.json", manifest)
        return read_split(folder, "train", read_manifest(folder))

    return read


def _check_split(content: bytes, split: LabelledImages) -> None:
    expected = _tensors(content)
    assert split.images.dtype == split.labels.dtype == np.uint8
    assert split.images.shape == (12, 4, 3)
    np.testing.assert_array_equal(split.images, expected["images"])
    np.testing.assert_array_equal(split.labels, expected["labels"])
    np.testing.assert_array_equal(np.sort(split.labels), np.sort(_LABELS))


_RECORD = TestRecord(
    activity=_NUMBERS.random((6, 3), dtype=np.float32),
    labels=np.array([1, 0, 1, 2, 2, 0], np.uint8),
    examples=_NUMBERS.random((3, 2, 4), dtype=np.float32),
    reconstructions=_NUMBERS.random((3, 2, 4), dtype=np.float32),
    l0_counts=np.array([1, 2, 3, 0]),
    l0_threshold=np.array([0.1]),
    top_units=np.array([2, 0, 1]),
    top_images=_NUMBERS.integers(0, 256, (3, 9, 2, 4), dtype=np.uint8),
).to_bytes()


def _record_input(chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return _or_damaged(_RECORD, chance)
    return _with_changed_header(_RECORD, chance)


def _check_record(content: bytes, record: TestRecord) -> None:
    for name, values in _tensors(content).items():
        np.testing.assert_array_equal(getattr(record, name), values)
    images, units = record.activity.shape
    assert np.isfinite(record.activity).all()
    assert record.labels.shape == (images,)
    assert record.examples.shape == record.reconstructions.shape
    assert len(record.examples) == len(set(record.labels.tolist()))
    assert record.l0_counts.shape == (units + 1,)
    shown = (images, len(record.top_images))
    assert record.activity[:, record.top_units].shape == shown


# What download brings


def _raw(folder: Path) -> bytes:
    folder.mkdir()
    for name, values in zip(IMAGES_AND_LABELS[0], (_IMAGES, _LABELS), strict=True):
        (folder / name).write_bytes(write_idx(values))
    describe_raw(folder, name="own")
    return (folder / "dataset.json").read_bytes()


def _raw_read(folder: Path) -> Callable[[bytes], Any]:
    def read(content: bytes) -> Any:
        (folder / "dataset.json").write_bytes(content)
        return read_raw(folder)

    return read


def _check_raw(_: bytes, raw: Any) -> None:
    np.testing.assert_array_equal(raw.train.images, _IMAGES)
    np.testing.assert_array_equal(raw.train.labels, _LABELS)
    assert raw.test is None


_PACKED = write_idx(_IMAGES)
_MEMBER = DataFile("train-images-idx3-ubyte", sha256=sha256_of_bytes(_PACKED))


def _package_input(chance: random.Random) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(
        fileobj=packed, mode="w", format=chance.choice((tarfile.PAX_FORMAT, tarfile.GNU_FORMAT))
    ) as archive:
        for _ in range(chance.randint(1, 3)):
            member = tarfile.TarInfo(
                chance.choice((f"data/{_MEMBER.name}", "../x", "/x", "é" * 200))
            )
            member.type = chance.choice(
                (*[tarfile.REGTYPE] * 3, *map(bytes, b"1 2 3 5 6 S x L".split()))
            )
            member.linkname = chance.choice((member.name, "/etc/passwd", "../" * 30))
            member.size = len(_PACKED) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(_PACKED))
    return packed.getvalue() if chance.random() < 0.2 else damaged(packed.getvalue(), chance)


def _package_read(content: bytes) -> bytes:
    registry = NpmRegistry(NpmPackage(name="tiny@1.0.0", folder="data"))
    registry._archive = content
    return registry.fetch(_MEMBER)


def _check_package(_: bytes, found: bytes) -> None:
    assert found == _PACKED


def readers(folder: Path) -> dict[str, Callable[[], Reader]]:
    """Every reader by name, made when it is called, working in `folder`."""
    own, here = folder / "own", folder / "here"
    return {
        "idx": lambda: Reader(_idx_input, lambda c: read_idx(c, name="it"), _check_idx),
        "idx.gz": lambda: Reader(_gz_input, _own(own, "train-images.gz"), _check_gz),
        "npz": lambda: Reader(_npz_input, _own(own, "mine.npz"), _check_npz),
        "params": lambda: Reader(_params_input, _params_read(here), _check_params),
        "values": lambda: Reader(_values_input, _values_read, _check_parsed),
        "preset": lambda: Reader(_overlay_input, _overlay_read(here), _check_overlay),
        "model": lambda: Reader(
            _sealed(_model_input), lambda c: model_from_bytes(c, name="it"), _check_model
        ),
        "manifest": lambda: Reader(
            _sealed(_manifest_input(here)), _manifest_read(here), _check_manifest(here)
        ),
        "split": lambda: Reader(_split_input(here), _split_read(here), _check_split),
        "evaluation": lambda: Reader(
            _sealed(_record_input), lambda c: TestRecord.from_bytes(c, name="it"), _check_record
        ),
        "raw": lambda: Reader(_sealed(_changed_json(_raw(here))), _raw_read(here), _check_raw),
        "package": lambda: Reader(_package_input, _package_read, _check_package),
        "images.npy": lambda: Reader(
            fuzz_images.npy_input, fuzz_images.batches_of(own, ".npy"), fuzz_images.check_npy
        ),
        "images.npz": lambda: Reader(
            fuzz_images.npz_input, fuzz_images.batches_of(own, ".npz"), fuzz_images.check_npz
        ),
        # The name says nothing of the format: Pillow looks at the content.
        "picture": lambda: Reader(
            fuzz_images.picture_input,
            fuzz_images.batches_of(own, ".png"),
            fuzz_images.check_picture,
        ),
    }
