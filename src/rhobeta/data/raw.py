"""The folder of verified files that `download` writes and `preprocess` reads.

Grey images and all labels are IDX files, as MNIST has them. Colour images and vectors are .npy
files. Values are mapped, never loaded whole.
"""

from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.datasets import IMAGES_AND_LABELS
from rhobeta.data.idx import read_idx
from rhobeta.data.samples import Samples, describe_shape
from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import read_json_with_checksum, write_json_with_checksum
from rhobeta.utils.files import sha256_of_file

ARRAY_NAMES = ("train.npy", "test.npy")
"""Names of the files of colour images and vectors, in the order of `IMAGES_AND_LABELS`."""
_DESCRIPTION = "dataset.json"
_MADE_BY = "rhobeta download"


@dataclass(frozen=True)
class RawData:
    """A downloaded data set: its name, the SHA-256 of each file, and its samples."""

    name: str
    files: dict[str, str]
    train: Samples
    test: Samples | None
    class_names: list[str] | None = None
    """The user's name of each label from 0; None: the labels have no names but their numbers."""
    feature_names: list[str] | None = None
    """The user's names of a vector's features; None: they have none."""


def describe_raw(
    folder: Path,
    *,
    name: str,
    class_names: list[str] | None = None,
    feature_names: list[str] | None = None,
) -> None:
    """Write `dataset.json`: the data set's name, and the SHA-256 and size of each file.

    Raises `RhobetaError` unless values and labels fit together.
    """
    files = {
        path.name: {"sha256": sha256_of_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    names = {"class_names": class_names, "feature_names": feature_names}
    given = {key: value for key, value in names.items() if value is not None}
    write_json_with_checksum(folder / _DESCRIPTION, {"name": name, "files": files, **given})
    read_raw(folder)


def read_raw(folder: Path) -> RawData:
    """Read the folder; verify each file's SHA-256, and that values and labels fit together.

    Raises `RhobetaError` for a file that is missing, malformed, or changed since it was written.
    """
    try:
        description = read_json_with_checksum(folder / _DESCRIPTION, made_by=_MADE_BY)
        files = {name: str(facts["sha256"]) for name, facts in description["files"].items()}
        data_set = str(description["name"])
        names = [_names(description.get(key)) for key in ("class_names", "feature_names")]
    except (TypeError, KeyError, AttributeError, RecursionError):
        raise RhobetaError(
            f"{folder / _DESCRIPTION} does not describe a data set.\nRun `{_MADE_BY}` again."
        ) from None
    parts = []
    for (images, labels), array in zip(IMAGES_AND_LABELS, ARRAY_NAMES, strict=True):
        if array in files:
            found = _labels(folder, labels, files) if labels in files else None
            parts.append(Samples(_mapped(folder, array, files), found))
        elif images in files or labels in files:
            found = _labels(folder, labels, files) if _has_labels(files) else None
            parts.append(Samples(_idx(folder, images, files), found))
    if not parts or not {IMAGES_AND_LABELS[0][0], ARRAY_NAMES[0]} & files.keys():
        raise RhobetaError(f"{folder} holds no training images.\nRun `{_MADE_BY}` again.")
    train, test = parts[0], parts[1] if len(parts) > 1 else None
    if test is not None and test.shape != train.shape:
        raise RhobetaError(
            f"The training samples are {describe_shape(train.shape)} but the test samples"
            f" {describe_shape(test.shape)}; all samples of a data set must have one shape."
        )
    return RawData(data_set, files, train, test, *names)


def _names(given: Any) -> list[str] | None:
    if given is not None and not (
        isinstance(given, list) and all(isinstance(name, str) for name in given)
    ):
        raise TypeError
    return given


def _has_labels(files: dict[str, str]) -> bool:
    return any(labels in files for _, labels in IMAGES_AND_LABELS)


def _labels(folder: Path, name: str, digests: dict[str, str]) -> NDArray[np.uint8]:
    return np.array(_idx(folder, name, digests))


def _idx(folder: Path, name: str, digests: dict[str, str]) -> NDArray[np.uint8]:
    path = _verified(folder, name, digests)
    with path.open("rb") as file:
        # Mapped: the images are copied once, into the splits.
        content = mmap(file.fileno(), 0, access=ACCESS_READ) if path.stat().st_size else b""
    return read_idx(content, name=str(path))


def _mapped(folder: Path, name: str, digests: dict[str, str]) -> NDArray[Any]:
    path = _verified(folder, name, digests)
    try:
        values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise RhobetaError(f"{path} is not a readable .npy file: {error}.") from None
    return values


def _verified(folder: Path, name: str, digests: dict[str, str]) -> Path:
    path = folder / name
    if name not in digests or not path.is_file():
        raise RhobetaError(
            f"{path} is missing: images and labels come in pairs.\n"
            "Add it, then run `dvc repro` again."
        )
    found = sha256_of_file(path)
    if found != digests[name]:
        raise RhobetaError(
            f"{path} has changed since `{_MADE_BY}` verified it (SHA-256"
            f" {found[:16]}..., expected {digests[name][:16]}...).\n"
            "Run `dvc repro --force download` to fetch it again."
        )
    return path
