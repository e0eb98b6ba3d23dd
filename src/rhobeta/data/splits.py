"""Train, validation and test splits: drawing, writing and reading them.

`<split>.safetensors` holds `values` and, where there are any, `labels`, as in `Samples`. Rows are
copied and checked in pieces, so a split may be larger than memory. `manifest.json` describes the
splits: counts, mean pixel, SHA-256 digests, and the parameters that made them. It holds a checksum,
so that damage is detected.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rhobeta.data.array_summary import Summary
from rhobeta.data.samples import Samples, is_sample_shape, kind_of
from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import read_with_checksum, write_json_with_checksum
from rhobeta.utils.files import atomic_write, require_file, sha256_of_bytes, sha256_of_file

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
_MANIFEST = "manifest.json"
_MADE_BY = "rhobeta preprocess"
_ADVICE = "Run `dvc repro --force preprocess` to write it again."
_PIECE_BYTES = 4 << 20
_TYPES = {"uint8": "U8", "float16": "F16", "float32": "F32"}  # as safetensors names them


_Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_Number = Annotated[float, Field(ge=-(2**53), le=2**53)]
_Label = Annotated[int, Field(ge=0, le=255)]
_Size = Annotated[int, Field(ge=1, lt=2**31)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def _sample_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    if not is_sample_shape(shape):
        raise ValueError(f"{shape} is not the shape of a sample")
    return shape


class _SplitFacts(BaseModel):
    """The entry of one split in `manifest.json`."""

    images: Annotated[int, Field(ge=0, lt=2**63)]
    per_class: dict[Annotated[str, Field(pattern="^[0-9]{1,3}$")], _Size]
    sha256: _Digest


class _ManifestFile(BaseModel):
    """The content of `manifest.json`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, allow_inf_nan=False)

    parameters: dict[str, str | bool | _Whole | _Number | list[_Whole | str] | None]
    sample_shape: Annotated[tuple[_Size, ...], AfterValidator(_sample_shape)]
    classes: list[_Label]
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    mean_pixel: Annotated[float, Field(ge=0, le=1)] | None
    splits: dict[str, _SplitFacts]
    sha256: _Digest

    @model_validator(mode="after")
    def _digest_is_that_of_the_splits(self) -> Self:
        if _digest_of_all({name: self.splits[name].sha256 for name in SPLIT_NAMES}) != self.sha256:
            raise ValueError("sha256 is not the digest of the splits")
        return self

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        for facts in self.splits.values():
            if sum(facts.per_class.values()) != (facts.images if self.classes else 0):
                raise ValueError("the counts of the classes do not sum to the number of images")
        return self


@dataclass(frozen=True)
class Manifest:
    """The description of the splits in `manifest.json`."""

    parameters: dict[str, Any]
    sample_shape: tuple[int, ...]
    classes: list[int]
    """The labels that occur, ascending; empty where there are none."""
    mean_pixel: float | None
    """Mean of the training images in [0, 1]; None for vectors."""
    splits: dict[str, dict[str, Any]]
    sha256: str
    class_names: list[str] | None = None
    """The user's name of each label from 0; None: the labels have no names but their numbers."""
    feature_names: list[str] | None = None
    """The user's names of a vector's features; None: they have none."""

    def digest(self, split: SplitName) -> str:
        """SHA-256 of the split's file."""
        return str(self.splits[split]["sha256"])


@dataclass(frozen=True)
class Selection:
    """Rows of a data set, which are copied when they are needed."""

    source: Samples
    rows: NDArray[np.intp]
    """Indices into the source (shape: [n])."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """The labels of the rows; None without labels."""
        return None if self.source.labels is None else self.source.labels[self.rows]

    def pieces(self) -> Iterator[NDArray[Any]]:
        """The values, at most 4 MiB at a time where a row has no more."""
        row_bytes = math.prod(self.source.shape) * self.source.values.dtype.itemsize
        size = max(1, _PIECE_BYTES // row_bytes)
        for start in range(0, len(self.rows), size):
            yield self.source.values[self.rows[start : start + size]]

    def in_memory(self) -> Samples:
        """The rows as samples in memory."""
        return self.source.take(self.rows)


def everything(data: Samples) -> Selection:
    """All rows of a data set."""
    return Selection(data, np.arange(len(data)))


def keep_classes(
    data: Samples, classes: Sequence[int | str] | None, names: Sequence[str] | None = None
) -> Selection:
    """The samples of `classes`, by label or by name, in their order; all where it is None.

    Raises `RhobetaError` where a class has no sample, or where there are no labels.
    """
    if classes is None:
        return everything(data)
    if data.labels is None:
        raise RhobetaError(
            f"data.classes: found {classes}, but the data set has no labels.\nSet it to null."
        )
    named = {name: label for label, name in enumerate(names or [])}
    if unknown := [name for name in classes if isinstance(name, str) and name not in named]:
        has = f"it has {', '.join(named)}" if named else "its classes have numbers, not names"
        raise RhobetaError(
            f"data.classes: found {classes}, but the data set has no class named"
            f" {', '.join(map(str, unknown))}; {has}."
        )
    labels = [named[label] if isinstance(label, str) else label for label in classes]
    present = set(np.unique(data.labels).tolist())
    if absent := sorted(set(labels) - present):
        raise RhobetaError(
            f"data.classes: found {classes}, but the data set has no images labelled"
            f" {', '.join(map(str, absent))}; it has {', '.join(map(str, sorted(present)))}."
        )
    return Selection(data, np.flatnonzero(np.isin(data.labels, labels)))


def hold_out(
    data: Selection, fraction: float, *, seed: int, name: str
) -> tuple[Selection, Selection]:
    """The rest and a held-out share of every class, drawn by `seed`, in the order of `data`.

    Without labels the share is drawn from all rows. A fraction of 0 holds out nothing. `name` is
    the parameter that errors name. Raises `RhobetaError` where a class, or without labels the data
    set, has too few samples to be in both parts.
    """
    from sklearn.model_selection import train_test_split

    labels, rows = data.labels, np.arange(len(data))
    if fraction == 0:
        return data, Selection(data.source, data.rows[:0])
    held_out = round(len(data) * fraction)
    if labels is None:
        if not 0 < held_out < len(data):
            raise RhobetaError(
                f"The data set of {len(data)} rows cannot be split by {name} {fraction}: one of the"
                f" parts would be empty.\nAdd rows, or change {name}."
            )
        rest, held = train_test_split(rows, test_size=held_out, random_state=seed)
        return _part(data, rest), _part(data, held)
    classes, counts = np.unique(labels, return_counts=True)
    try:
        rest, held = train_test_split(rows, test_size=held_out, stratify=labels, random_state=seed)
        absent = np.setdiff1d(classes, np.intersect1d(labels[rest], labels[held]))
    except ValueError:
        # Refused by scikit-learn: a class of one image, or fewer places than classes.
        absent = classes[counts == counts.min()]
    if len(absent):
        raise RhobetaError(
            f"The data set of {len(labels)} images cannot be split by {name} {fraction}: the"
            f" {held_out} images held out cannot hold every class; the smallest classes are"
            f" {_counted(classes, counts)}.\nAdd images, raise {name}, or leave"
            " classes out with data.classes."
        )
    return _part(data, rest), _part(data, held)


def _part(data: Selection, rows: NDArray[np.intp]) -> Selection:
    return Selection(data.source, data.rows[np.sort(rows, kind="stable")])


def _counted(labels: NDArray[np.uint8], counts: NDArray[np.intp]) -> str:
    smallest = np.argsort(counts, kind="stable")[:3]
    return ", ".join(f"{labels[i]} (with {counts[i]})" for i in smallest)


def write_splits(
    folder: Path,
    splits: Mapping[SplitName, Selection],
    *,
    raw_files: dict[str, str],
    parameters: dict[str, Any],
    class_names: list[str] | None = None,
    feature_names: list[str] | None = None,
) -> Manifest:
    """Write the three splits and their manifest into `folder`.

    `raw_files` are the digests of the raw files by name, `parameters` the parameters that made the
    splits by dotted path. Raises `RhobetaError` where the training samples have labels of one
    class, or are all the same.
    """
    train = splits["train"]
    classes = np.unique(train.labels) if train.labels is not None else np.zeros(0, np.uint8)
    if train.labels is not None and len(classes) < 2:
        raise RhobetaError(
            f"The data set has images of {len(classes)} class; expected two or more, since the"
            " probe tells classes apart.\nAdd images of another class, widen data.classes,"
            " or take the labels away."
        )
    facts: dict[str, dict[str, Any]] = {}
    summaries: dict[str, Summary] = {}
    for name, split in splits.items():
        path = folder / f"{name}.safetensors"
        with atomic_write(path) as partial:
            summary = summaries[name] = _save(split, partial)
            if name == "train" and summary.constant.all():
                raise RhobetaError(_all_the_same(train, summary))
        facts[name] = {
            "images": len(split),
            "per_class": _class_counts(split.labels),
            "sha256": sha256_of_file(path),
        }
    shape = train.source.shape
    manifest = {
        "parameters": parameters,
        "sample_shape": list(shape),
        "classes": classes.tolist(),
        "class_names": class_names,
        "feature_names": feature_names,
        "mean_pixel": summaries["train"].overall_mean / 255 if len(shape) > 1 else None,
        "splits": facts,
        "raw_files": raw_files,
        "sha256": _digest_of_all({name: facts[name]["sha256"] for name in SPLIT_NAMES}),
    }
    write_json_with_checksum(folder / _MANIFEST, manifest)
    return read_manifest(folder)


def _all_the_same(train: Selection, summary: Summary) -> str:
    shape = train.source.shape
    values = f"{'pixels' if len(shape) > 1 else 'values'} {summary.low:g} to {summary.high:g}"
    return (
        f"All {len(train)} training {kind_of(shape)} are the same ({values}); expected some that"
        " differ, else there is nothing to learn.\nLook at the data set's files: they may be"
        " placeholders, or lost their values."
    )


def _class_counts(labels: NDArray[np.uint8] | None) -> dict[str, int]:
    if labels is None:
        return {}
    found, counts = np.unique(labels, return_counts=True)
    return {str(k): int(n) for k, n in zip(found, counts, strict=True)}


def _save(split: Selection, path: Path) -> Summary:
    """Write a safetensors file piece by piece; returns what its values are."""
    values, labels = split.source.values, split.labels
    shape = [len(split), *split.source.shape]
    end = math.prod(shape) * values.dtype.itemsize
    header: dict[str, Any] = {
        "values": {"dtype": _TYPES[values.dtype.name], "shape": shape, "data_offsets": [0, end]}
    }
    if labels is not None:
        offsets = [end, end + len(labels)]
        header["labels"] = {"dtype": "U8", "shape": [len(labels)], "data_offsets": offsets}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    summary = Summary(split.source.shape)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for piece in split.pieces():
            file.write(np.ascontiguousarray(piece, piece.dtype.newbyteorder("<")).data)
            summary.add(piece)
        if labels is not None:
            file.write(labels.tobytes())
    return summary


def _digest_of_all(digests: dict[SplitName, str]) -> str:
    return sha256_of_bytes("".join(digests[name] for name in SPLIT_NAMES).encode())


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json`.

    Raises `RhobetaError` where it is missing, damaged, malformed, or where its counts or digests
    contradict each other.
    """
    path = folder / _MANIFEST
    text = read_with_checksum(path, made_by=_MADE_BY)
    try:
        content = _ManifestFile.model_validate_json(text)
    except (ValidationError, KeyError):
        raise RhobetaError(f"{path} does not describe splits.\nRun `{_MADE_BY}` again.") from None
    return Manifest(**content.model_dump())


def read_split(folder: Path, name: SplitName, manifest: Manifest) -> Samples:
    """One split, verified by the manifest; its values are a memory map of the file.

    Raises `RhobetaError` where the file is missing, has another SHA-256, or is not a split.
    """
    from safetensors import SafetensorError

    path = require_file(folder / f"{name}.safetensors", made_by=_MADE_BY)
    found = sha256_of_file(path)
    expected = manifest.digest(name)
    if found != expected:
        raise RhobetaError(
            f"{path} is not the file that manifest.json describes (SHA-256 {found[:16]}...,"
            f" expected {expected[:16]}...): it is damaged, or from another run.\n{_ADVICE}"
        )
    try:
        tensors = _mapped(path)
        split = Samples(tensors["values"], tensors["labels"] if manifest.classes else None)
    except (SafetensorError, RhobetaError, LookupError, ValueError) as error:
        raise RhobetaError(f"{path} holds no split ({error}).\n{_ADVICE}") from None
    facts, counts = manifest.splits[name], _class_counts(split.labels)
    if split.shape != manifest.sample_shape or (len(split), counts) != (
        facts["images"],
        facts["per_class"],
    ):
        raise RhobetaError(
            f"{path} holds other samples than manifest.json says: {len(split)} of shape"
            f" {split.shape}, by class {counts}, expected {facts['images']} of shape"
            f" {manifest.sample_shape}, by class {facts['per_class']}.\n{_ADVICE}"
        )
    return split


def _mapped(path: Path) -> dict[str, NDArray[Any]]:
    """The values of a split as a memory map, and its labels."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        tensors = {key: file.get_tensor(key) for key in set(file.keys()) & {"labels"}}
    with path.open("rb") as stream:
        # safetensors has checked the header, but does not tell where the values begin.
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))["values"]
    types = {word: name for name, word in _TYPES.items()}
    dtype, shape = np.dtype(types[header["dtype"]]), tuple(header["shape"])
    if 0 in shape:
        return tensors | {"values": np.empty(shape, dtype)}
    return tensors | {
        "values": np.memmap(path, dtype, "r", 8 + length + header["data_offsets"][0], shape)
    }
