"""The user's own images and labels in `data/own`: one .npz, .npy files, or IDX files."""

import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rhobeta.data import numpy_files
from rhobeta.data.datasets import IMAGES_AND_LABELS
from rhobeta.data.idx import LONGEST_HEADER, declared_length, read_idx
from rhobeta.data.other_formats import way_in
from rhobeta.data.values import Values, dim_note, grey_bytes, label_bytes
from rhobeta.errors import RhobetaError
from rhobeta.utils.files import visible_files

_HOW = (
    "Put one of these into data/own: an .npz with the arrays `images` and `labels` (and, where"
    " there are any, `test_images` and `test_labels`; train_images or x_train, y_train, x_test,"
    " y_test do as well); .npy files of these names; or IDX files, gzipped or not, named"
    " train-images* and train-labels* (and t10k-images* and t10k-labels*)."
)
_PIECE = 1 << 20
_NAMES_SHOWN = 5
_GZIP_START = b"\x1f\x8b"

(_IMAGES, _LABELS), (_TEST_IMAGES, _TEST_LABELS) = IMAGES_AND_LABELS
# By the name of the IDX file that an array becomes: its names in .npz and .npy files.
_ARRAY_NAMES = {
    _IMAGES: ("images", "train_images", "x_train"),
    _LABELS: ("labels", "train_labels", "y_train"),
    _TEST_IMAGES: ("test_images", "x_test"),
    _TEST_LABELS: ("test_labels", "y_test"),
}
# Names of IDX files as MNIST, EMNIST (emnist-letters-train-...) and their copies have them.
_IDX_NAME = re.compile(r"(?:^|-)(train|t10k|test)[-_.](images|labels)")
_NO_DATA = re.compile(r"(readme|licen[cs]e|.*\.dvc$)", re.IGNORECASE)

_Opener = Callable[[], AbstractContextManager[Values]]


@dataclass(frozen=True)
class OwnData:
    """What was read in the user's folder."""

    arrays: dict[str, NDArray[np.uint8]]
    """By the name of the IDX file that each becomes: images ([images, height, width]), labels."""
    notes: list[str] = field(default_factory=list)
    """What the user should know."""


@dataclass(frozen=True)
class _Array:
    """An array that was found: its key in `_ARRAY_NAMES`, its name for errors, how it is opened."""

    key: str
    name: str
    open: _Opener


def read_own(folder: Path) -> OwnData:
    """Read the user's files. Test data is optional. A compressed array may unpack to 1 GiB.

    Raises:
        RhobetaError: The folder holds no data set, more than one, or one that cannot be read.
    """
    files = visible_files(folder) if folder.is_dir() else []
    files = [path for path in files if not _NO_DATA.match(path.name)]
    taken = [path for path in files if _kind(path)]
    kinds = {_kind(path): path.name for path in taken}
    if not taken:
        raise RhobetaError(
            f"data.name is own, but {folder} holds no data set.{_held(files)}\n{_HOW}"
        )
    if len(kinds) > 1:
        raise RhobetaError(
            f"{folder} holds files of several kinds ({', '.join(kinds.values())}), and one kind is"
            " read; move the others away."
        )
    if len(taken) > 1 and ".npz" in kinds:
        raise RhobetaError(
            f"{folder} holds several .npz files ({_some(taken)}); leave one, which holds both"
            " images and labels."
        )
    found, unused = _by_target(folder, [array for path in taken for array in _arrays_in(path)])
    if missing := _missing(found):
        held = _some(taken)
        if ".npz" in kinds:
            held = f"{held} with the arrays {numpy_files.describe_arrays(taken[0])}"
        raise RhobetaError(f"{folder} holds {held}, but no {missing}.\n{_HOW}")
    left = [path for path in files if path not in set(taken)]
    notes = [f"not read: {_some(left)}"] if left else []
    if unused:
        notes.append(f"arrays that are not used: {_some(unused)}")
    return _checked(folder, found, notes)


def _kind(path: Path) -> str | None:
    ending = path.suffix.lower()
    if not path.is_file():
        return None
    if ending in (".npz", ".npy"):
        return ending
    return "IDX" if _IDX_NAME.search(path.name.lower()) else None


def _arrays_in(path: Path) -> list[_Array]:
    match _kind(path):
        case ".npz":
            return [
                _Array(name, f"{path}:{name}", partial(numpy_files.open_array, path, name))
                for name in numpy_files.array_names(path)
            ]
        case ".npy":
            return [_Array(path.stem, str(path), partial(numpy_files.open_array, path))]
    split, part = _IDX_NAME.findall(path.name.lower())[0]
    name = part if split == "train" else f"test_{part}"
    return [_Array(name, str(path), partial(_open_idx, path))]


def _by_target(folder: Path, arrays: list[_Array]) -> tuple[dict[str, _Array], list[str]]:
    """The arrays by the IDX file that each becomes, and the keys of others."""
    targets = {name: target for target, names in _ARRAY_NAMES.items() for name in names}
    found: dict[str, _Array] = {}
    unused = []
    for array in arrays:
        target = targets.get(array.key.lower())
        if target is None:
            unused.append(array.key)
        elif target in found:
            names = f"{Path(found[target].name).name}, {Path(array.name).name}"
            raise RhobetaError(f"{folder} holds {names} for the same thing; leave one.")
        else:
            found[target] = array
    return found, unused


def _missing(found: dict[str, _Array]) -> str | None:
    words = {_IMAGES: "training images", _LABELS: "labels of the training images"}
    if _TEST_IMAGES in found or _TEST_LABELS in found:
        words |= {_TEST_IMAGES: "test images", _TEST_LABELS: "labels of the test images"}
    return next((what for target, what in words.items() if target not in found), None)


def _checked(folder: Path, found: dict[str, _Array], notes: list[str]) -> OwnData:
    """Read the arrays, which must fit together."""
    arrays: dict[str, NDArray[np.uint8]] = {}
    for images, labels in IMAGES_AND_LABELS:
        if images not in found:
            continue
        for name, convert in ((labels, label_bytes), (images, grey_bytes)):
            with found[name].open() as values:
                arrays[name] = convert(values, found[name].name)
        count, expected = len(arrays[labels]), len(arrays[images])
        if count != expected:
            turned = "\nIf the images lie along the last axis: np.moveaxis(images, -1, 0)."
            raise RhobetaError(
                f"{found[images].name} has {expected} images but {count} labels in"
                f" {found[labels].name}; expected one label an image."
                f"{turned if count == arrays[images].shape[-1] else ''}"
            )
        name = Path(found[images].name).name
        notes.append(f"{name}: {expected:,} images of {_size(arrays[images])} pixels")
        if note := dim_note(float(arrays[images].max()), 255, name):
            notes.append(note)
    sizes = {_size(arrays[images]) for images, _ in IMAGES_AND_LABELS if images in arrays}
    if len(sizes) > 1:
        raise RhobetaError(
            f"{folder} holds training and test images of {' and '.join(sorted(sizes))} pixels;"
            " expected one size."
        )
    return OwnData(arrays, notes)


def _size(images: NDArray[np.uint8]) -> str:
    return " x ".join(map(str, images.shape[1:]))


def _held(files: list[Path]) -> str:
    """What a folder without a data set holds, and how it can be brought in."""
    if not files:
        return ""
    return (
        f" It holds {_some(files)}: {way_in(files[0])}; np.savez('data/own/mine.npz', images=...,"
        " labels=...) writes what is read."
    )


def _some(names: Iterable[Path | str]) -> str:
    words = [name if isinstance(name, str) else name.name for name in names]
    more = f" and {len(words) - _NAMES_SHOWN} more" if len(words) > _NAMES_SHOWN else ""
    return ", ".join(words[:_NAMES_SHOWN]) + more


@contextmanager
def _open_idx(path: Path) -> Iterator[Values]:
    yield read_idx(_content(path), name=str(path))


def _content(path: Path) -> bytes | bytearray:
    with path.open("rb") as file:
        if file.read(len(_GZIP_START)) != _GZIP_START:
            file.seek(0)
            return file.read()
    try:
        return _unpacked(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RhobetaError(f"{path} is a damaged gzip file ({error}).") from None


def _unpacked(path: Path) -> bytearray:
    """What the gzip file holds, at most one byte more than its IDX header declares."""
    limit = numpy_files.LARGEST_UNPACKED
    with gzip.open(path) as file:
        content = bytearray(file.read(LONGEST_HEADER))
        length = declared_length(content, name=str(path))
        if length > limit:
            raise RhobetaError(
                f"{path} declares {length:,} bytes; a compressed file may hold at most"
                f" {limit >> 20} MiB.\nIf it does hold them, unpack it with gunzip."
            )
        while len(content) <= length and (
            piece := file.read(min(_PIECE, length + 1 - len(content)))
        ):
            content += piece
    return content
