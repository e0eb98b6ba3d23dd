"""The folder of verified IDX files that `download` writes and `preprocess` reads."""

from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.datasets import IMAGES_AND_LABELS
from rhobeta.data.idx import read_idx
from rhobeta.data.samples import Samples, describe_shape
from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import read_json_with_checksum, write_json_with_checksum
from rhobeta.utils.files import sha256_of_file

_DESCRIPTION = "dataset.json"
_MADE_BY = "rhobeta download"


@dataclass(frozen=True)
class RawData:
    """A downloaded data set: its name, the SHA-256 of each file, and its images."""

    name: str
    files: dict[str, str]
    train: Samples
    test: Samples | None


def describe_raw(folder: Path, *, name: str) -> None:
    """Write `dataset.json`: the data set's name, and the SHA-256 and size of each file.

    Raises `RhobetaError` unless images and labels fit together.
    """
    files = {
        path.name: {"sha256": sha256_of_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.iterdir())
    }
    write_json_with_checksum(folder / _DESCRIPTION, {"name": name, "files": files})
    read_raw(folder)


def read_raw(folder: Path) -> RawData:
    """Read the folder; verify each file's SHA-256, and that images and labels fit together.

    Raises `RhobetaError` for a file that is missing, malformed, or changed since it was written.
    """
    try:
        description = read_json_with_checksum(folder / _DESCRIPTION, made_by=_MADE_BY)
        files = {name: str(facts["sha256"]) for name, facts in description["files"].items()}
        data_set = str(description["name"])
    except (TypeError, KeyError, AttributeError, RecursionError):
        raise RhobetaError(
            f"{folder / _DESCRIPTION} does not describe a data set.\nRun `{_MADE_BY}` again."
        ) from None
    pairs = []
    for images, labels in IMAGES_AND_LABELS:
        if images in files or labels in files:
            pairs.append(Samples(_array(folder, images, files), _array(folder, labels, files)))
    if not pairs or IMAGES_AND_LABELS[0][0] not in files:
        raise RhobetaError(f"{folder} holds no training images.\nRun `{_MADE_BY}` again.")
    train, test = pairs[0], pairs[1] if len(pairs) > 1 else None
    if test is not None and test.shape != train.shape:
        raise RhobetaError(
            f"The training samples are {describe_shape(train.shape)} but the test samples"
            f" {describe_shape(test.shape)}; all samples of a data set must have one shape."
        )
    return RawData(data_set, files, train, test)


def _array(folder: Path, name: str, digests: dict[str, str]) -> NDArray[np.uint8]:
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
    with path.open("rb") as file:
        # Mapped: the images are copied once, into the splits.
        content = mmap(file.fileno(), 0, access=ACCESS_READ) if path.stat().st_size else b""
    return read_idx(content, name=str(path))
