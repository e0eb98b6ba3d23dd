"""Train, validation and test splits: drawing, writing and reading them.

`<split>.safetensors` holds `values` and, where there are any, `labels`, as in `Samples`.
`manifest.json` describes them: counts, mean pixel, SHA-256 digests, and the parameters that made
them. It holds a checksum, so that damage is detected.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rhobeta.data.samples import Samples, is_sample_shape
from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import read_with_checksum, write_json_with_checksum
from rhobeta.utils.files import atomic_write, require_file, sha256_of_bytes, sha256_of_file

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
_MANIFEST = "manifest.json"
_MADE_BY = "rhobeta preprocess"
_ADVICE = "Run `dvc repro --force preprocess` to write it again."


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

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if sum(self.per_class.values()) != self.images:
            raise ValueError("the counts of the classes do not sum to the number of images")
        return self


class _ManifestFile(BaseModel):
    """The content of `manifest.json`."""

    model_config: ClassVar[ConfigDict] = ConfigDict(strict=True, allow_inf_nan=False)

    parameters: dict[str, str | bool | _Whole | _Number | list[_Whole] | None]
    sample_shape: Annotated[tuple[_Size, ...], AfterValidator(_sample_shape)]
    classes: list[_Label]
    class_names: list[str] | None = None
    feature_names: list[str] | None = None
    mean_pixel: Annotated[float, Field(ge=0, le=1)]
    splits: dict[str, _SplitFacts]
    sha256: _Digest

    @model_validator(mode="after")
    def _digest_is_that_of_the_splits(self) -> Self:
        if _digest_of_all({name: self.splits[name].sha256 for name in SPLIT_NAMES}) != self.sha256:
            raise ValueError("sha256 is not the digest of the splits")
        return self


@dataclass(frozen=True)
class Manifest:
    """The description of the splits in `manifest.json`."""

    parameters: dict[str, Any]
    sample_shape: tuple[int, ...]
    classes: list[int]
    """The labels that occur, ascending; empty where there are none."""
    mean_pixel: float
    splits: dict[str, dict[str, Any]]
    sha256: str
    class_names: list[str] | None = None
    """The user's name of each label from 0; None: the labels have no names but their numbers."""
    feature_names: list[str] | None = None
    """The user's names of a vector's features; None: they have none."""

    def digest(self, split: SplitName) -> str:
        """SHA-256 of the split's file."""
        return str(self.splits[split]["sha256"])


def keep_classes(data: Samples, classes: list[int] | None) -> Samples:
    """The images whose label is in `classes`, in their order; all where it is None.

    Raises `RhobetaError` where a class has no image.
    """
    if classes is None:
        return data
    labels = data.require_labels()
    present = set(np.unique(labels).tolist())
    if absent := sorted(set(classes) - present):
        raise RhobetaError(
            f"data.classes: found {classes}, but the data set has no images labelled"
            f" {', '.join(map(str, absent))}; it has {', '.join(map(str, sorted(present)))}."
        )
    return data.take(np.flatnonzero(np.isin(labels, classes)))


def hold_out(
    labels: NDArray[np.uint8], fraction: float, *, seed: int, name: str
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of the rest and of a held-out share of every class, drawn by `seed`, ascending.

    A fraction of 0 holds out nothing. `name` is the parameter that errors name. Raises
    `RhobetaError` where a class has too few images to be in both parts.
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(labels))
    if fraction == 0:
        return rows, rows[:0]
    held_out = round(len(labels) * fraction)
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
    return np.sort(rest, kind="stable"), np.sort(held, kind="stable")


def _counted(labels: NDArray[np.uint8], counts: NDArray[np.intp]) -> str:
    smallest = np.argsort(counts, kind="stable")[:3]
    return ", ".join(f"{labels[i]} (with {counts[i]})" for i in smallest)


def write_splits(
    folder: Path,
    splits: dict[SplitName, Samples],
    *,
    raw_files: dict[str, str],
    parameters: dict[str, Any],
) -> Manifest:
    """Write the three splits and their manifest into `folder`.

    `raw_files` are the digests of the raw files by name, `parameters` the parameters that made the
    splits by dotted path. Raises `RhobetaError` where the training images have fewer than two
    classes, or are all the same.
    """
    classes = np.unique(splits["train"].require_labels())
    if len(classes) < 2:
        raise RhobetaError(
            f"The data set has images of {len(classes)} class; expected two or more, since the"
            " probe tells classes apart.\nAdd images of another class, or widen data.classes."
        )
    images = splits["train"].values
    if np.array_equal(images.min(0), images.max(0)):
        raise RhobetaError(
            f"All {len(images)} training images are the same (pixels {images.min()} to"
            f" {images.max()}); expected images that differ, else there is nothing to learn.\n"
            "Look at the data set's files: they may be placeholders, or lost their values."
        )
    facts: dict[str, dict[str, Any]] = {}
    for name, split in splits.items():
        path = folder / f"{name}.safetensors"
        with atomic_write(path) as partial:
            _save(split, partial)
        labels, counts = np.unique(split.require_labels(), return_counts=True)
        facts[name] = {
            "images": len(split),
            "per_class": {str(k): int(n) for k, n in zip(labels, counts, strict=True)},
            "sha256": sha256_of_file(path),
        }
    manifest = {
        "parameters": parameters,
        "sample_shape": list(splits["train"].shape),
        "classes": classes.tolist(),
        "class_names": None,
        "feature_names": None,
        "mean_pixel": float(splits["train"].values.mean(dtype=np.float64) / 255),
        "splits": facts,
        "raw_files": raw_files,
        "sha256": _digest_of_all({name: facts[name]["sha256"] for name in SPLIT_NAMES}),
    }
    write_json_with_checksum(folder / _MANIFEST, manifest)
    return read_manifest(folder)


def _save(split: Samples, path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors = {"values": np.ascontiguousarray(split.values), "labels": split.require_labels()}
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # It hides the error of the file in its text.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


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
    """Read one split and verify it by the manifest.

    Raises `RhobetaError` where the file is missing, has another SHA-256, or is not a split.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = require_file(folder / f"{name}.safetensors", made_by=_MADE_BY)
    content = path.read_bytes()
    found, expected = sha256_of_bytes(content), manifest.digest(name)
    if found != expected:
        raise RhobetaError(
            f"{path} is not the file that manifest.json describes (SHA-256 {found[:16]}...,"
            f" expected {expected[:16]}...): it is damaged, or from another run.\n{_ADVICE}"
        )
    try:
        tensors: dict[str, NDArray[Any]] = load(content)
        split = Samples(tensors["values"], tensors["labels"])
    except (SafetensorError, RhobetaError, LookupError, ValueError) as error:
        raise RhobetaError(f"{path} holds no split ({error}).\n{_ADVICE}") from None
    expected_counts = manifest.splits[name]["per_class"]
    labels, counts = np.unique(split.require_labels(), return_counts=True)
    found_counts = {str(k): int(n) for k, n in zip(labels, counts, strict=True)}
    if split.shape != manifest.sample_shape or found_counts != expected_counts:
        raise RhobetaError(
            f"{path} holds other samples than manifest.json says: shape {split.shape}, by class"
            f" {found_counts}, expected shape {manifest.sample_shape}, by class"
            f" {expected_counts}.\n{_ADVICE}"
        )
    return split
