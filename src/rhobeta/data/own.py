"""The user's own data in `data/own`: arrays, tables or pictures, with or without labels.

Every file is read in pieces, checked and written into `data/raw`, so that none has to fit into
memory. data/own/README.md says which input is read as what.
"""

import gzip
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data import numpy_files, tensor_files
from rhobeta.data.array_summary import Summary
from rhobeta.data.datasets import IMAGES_AND_LABELS
from rhobeta.data.idx import LONGEST_HEADER, declared_length, read_idx, write_idx_header
from rhobeta.data.other_formats import way_in
from rhobeta.data.parquet_files import ParquetTable
from rhobeta.data.picture_folders import PictureFolder, Pictures, color_of, find_pictures
from rhobeta.data.raw import ARRAY_NAMES
from rhobeta.data.samples import describe_shape, kind_of
from rhobeta.data.sources import ArrayInMemory, Opener, Source
from rhobeta.data.values import (
    Color,
    dim_note,
    image_pieces,
    label_codes,
    label_values,
    sample_shape_of,
    to_color,
    vector_pieces,
)
from rhobeta.errors import RhobetaError
from rhobeta.utils.files import visible_files

_HOW = (
    "Put one of these into data/own: an .npz with the array `images` or `vectors` (and, where there"
    " are any, `labels`, `test_images` and `test_labels`; x_train, y_train, x_test and y_test do as"
    " well); .npy or .safetensors files of such names; .parquet files; a folder of pictures for"
    " each class; or IDX files, gzipped or not, named train-images* and train-labels*. The table in"
    " data/own/README.md has all."
)
_PIECE = 1 << 20
_NAMES_SHOWN = 5
# A column of a hundredth of another's spread counts for 0.01 % of its squared error.
_UNEVEN = 100
_GZIP_START = b"\x1f\x8b"

# Names of IDX files as MNIST, EMNIST (emnist-letters-train-...) and their copies have them.
_IDX_NAME = re.compile(r"(?:^|-)(train|t10k|test)[-_.](images|labels)")
_VALIDATION = re.compile(r"(val|valid|validation|dev)(?![a-z])", re.IGNORECASE)
_NO_DATA = re.compile(r"(readme|licen[cs]e|.*\.dvc$)", re.IGNORECASE)
_NUMBER = re.compile(r"[-_. ]*\d+$")  # of part-000, part-001, ...
_SPLIT_NAME = re.compile(r"^(train|test)(?![a-z])[-_. ]*|[-_. ]*(?<![a-z])(train|test)$")
_VALUES = {
    *("", "activations", "data", "embeddings", "features", "image", "images", "inputs"),
    *("part", "samples", "values", "vectors", "x"),
}
_LABELS = {"label", "labels", "target", "targets", "y"}


@dataclass(frozen=True)
class OwnOptions:
    """How the user's data is read; the parameters of these names under `data`."""

    labels: bool = True
    image_size: tuple[int, int] | None = None
    color: Color | None = None


@dataclass(frozen=True)
class OwnData:
    """What was read and written."""

    class_names: list[str] | None
    """The name of each label from 0; None: the labels have no names, or there are none."""
    feature_names: list[str] | None
    """Names of the columns of a table; None for others."""
    notes: list[str]
    """What the user should know."""


@dataclass(frozen=True)
class _Array:
    """An array that was found: values or labels of a split, or one file's part of them."""

    split: str
    role: str | None
    """values or labels; None: its name says neither."""
    base: str
    """Its name without the number of a part."""
    key: str
    name: str
    """For messages."""
    open: Opener
    is_file: bool = False
    """Whether it is a file of its own."""


@dataclass
class _Found:
    """What lies in the user's folder."""

    parts: dict[tuple[str, str], list[_Array]] = field(default_factory=dict)
    """By split and role, in the order of names."""
    feature_names: list[str] | None = None
    pictures: bool = False
    notes: list[str] = field(default_factory=list)


def convert_own(folder: Path, into: Path, options: OwnOptions | None = None) -> OwnData:
    """Read the user's files and write them into the folder `into`, as `read_raw` reads them.

    Labels and test data are optional. A compressed array may unpack to 1 GiB.

    Raises:
        RhobetaError: The folder holds no data set, more than one, or one that cannot be used.
    """
    options = options or OwnOptions()
    found = _find(folder, options)
    if not options.labels:
        found.parts = {key: parts for key, parts in found.parts.items() if key[1] != "labels"}
    if missing := _missing(found.parts):
        raise RhobetaError(f"{folder} holds {_held_arrays(folder)}, but no {missing}.\n{_HOW}")
    labels = {split: _labels_of(found, split) for split in ("train", "test")}
    notes = list(found.notes)
    splits = [split for split in ("train", "test") if (split, "values") in found.parts]
    forms = {split: _form_of(found.parts[split, "values"], found, options) for split in splits}
    if len({form.shape for form in forms.values()}) > 1:
        both = " and ".join(sorted(describe_shape(form.shape) for form in forms.values()))
        raise RhobetaError(f"{folder} holds training and test {both}; expected one size.")
    for split, form in forms.items():
        summary, shape = _copy(found, split, form, into, options), form.shape
        parts = found.parts[split, "values"]
        given = labels[split]
        if given is not None and len(given) != summary.count:
            turned = "\nIf the images lie along the last axis: np.moveaxis(images, -1, 0)."
            raise RhobetaError(
                f"{_names(parts)} has {summary.count} {kind_of(shape)} but {len(given)} labels in"
                f" {_names(found.parts[split, 'labels'])}; expected one label each."
                f"{turned if len(given) == shape[-1] else ''}"
            )
        notes += _notes_on(parts, form, summary, found.feature_names)
    names = None
    if any(given is not None for given in labels.values()):
        names = _write_labels(found, labels, into)
        notes.append(_note_on_classes(labels["train"], names))
    else:
        notes.append("no labels")
    return OwnData(names, found.feature_names, notes)


# What lies in the folder


def _find(folder: Path, options: OwnOptions) -> _Found:
    files = visible_files(folder) if folder.is_dir() else []
    files = [path for path in files if not _NO_DATA.match(path.name)]
    loose = [path for path in files if _kind(path) == ".npy" and _role_of(path.stem)[1] == "labels"]
    taken = [path for path in files if _kind(path) and path not in loose]
    taken = [path for path in taken if not _VALIDATION.match(path.name)]
    kinds = {_kind(path): path.name for path in taken}
    if len(kinds) > 1:
        raise RhobetaError(
            f"{folder} holds files of several kinds ({', '.join(kinds.values())}), and one kind is"
            " read; move the others away."
        )
    found = _Found()
    pictures, left = ({}, []) if taken or not folder.is_dir() else find_pictures(folder)
    if pictures:
        arrays = _arrays_of_pictures(pictures, options)
        found.pictures = True
        used = {path for path in files if path.is_dir() or _is_in(path, pictures)} - set(left)
    elif ".parquet" in kinds:
        arrays, found.feature_names, notes = _arrays_of_tables(taken)
        found.notes += notes
        used = set(taken)
    elif taken or loose:
        arrays = _as_parts([array for path in taken for array in _arrays_in(path)])
        used = set(taken)
    else:
        raise RhobetaError(
            f"data.name is own, but {folder} holds no data set.{_held(files)}\n{_HOW}"
        )
    arrays += [array for path in loose for array in _arrays_in(path)]
    unread = [path for path in files if path not in used and path not in loose]
    if unread:
        found.notes.insert(0, f"not read: {_some(unread)}")
    found.parts, unused = _by_role(folder, arrays)
    if unused:
        found.notes.append(f"arrays that are not used: {_some(unused)}")
    return found


def _kind(path: Path) -> str | None:
    ending = path.suffix.lower()
    if not path.is_file():
        return None
    if ending in (".npz", ".npy", ".safetensors", ".parquet"):
        return ending
    return "IDX" if _IDX_NAME.search(path.name.lower()) else None


def _role_of(name: str) -> tuple[str, str | None, str]:
    """The split of an array, its role or None, and its name without the number of a part."""
    base = _NUMBER.sub("", name.lower())
    split = "test" if any("test" in found for found in _SPLIT_NAME.findall(base)) else "train"
    rest = _SPLIT_NAME.sub("", base)
    role = "labels" if rest in _LABELS else "values" if rest in _VALUES else None
    return split, role, base


def _arrays_in(path: Path) -> list[_Array]:
    match _kind(path):
        case ".npz":
            names = numpy_files.array_names(path)
            opened: list[Opener] = [partial(numpy_files.open_array, path, n) for n in names]
        case ".safetensors":
            names = tensor_files.tensor_names(path)
            opened = [partial(tensor_files.open_tensor, path, name) for name in names]
        case ".npy":
            split, role, base = _role_of(path.stem)
            opened_file = partial(numpy_files.open_array, path)
            return [_Array(split, role, base, path.stem, str(path), opened_file, is_file=True)]
        case _:
            split, part = _IDX_NAME.findall(path.name.lower())[0]
            role = "values" if part == "images" else "labels"
            name = "train" if split == "train" else "test"
            return [_Array(name, role, path.name, path.name, str(path), partial(_open_idx, path))]
    of_file = _role_of(path.stem)[0]
    found = []
    for name, open_it in zip(names, opened, strict=True):
        split, role, base = _role_of(name)
        split = "test" if of_file == "test" else split
        found.append(_Array(split, role, base, name, f"{path}:{name}", open_it))
    if len(found) == 1 and found[0].role is None:
        # The only array of its file needs no name.
        found = [replace(found[0], role="values", base="")]
    return found


def _as_parts(arrays: list[_Array]) -> list[_Array]:
    """.npy files none of whose names says what it is: all are read, as parts of one array."""
    if any(array.role is not None or not array.is_file for array in arrays):
        return arrays
    return [replace(array, role="values", base="") for array in arrays]


def _by_role(
    folder: Path, arrays: list[_Array]
) -> tuple[dict[tuple[str, str], list[_Array]], list[str]]:
    """The arrays by split and role, and the keys of others."""
    found: dict[tuple[str, str], list[_Array]] = {}
    unused = []
    for array in arrays:
        if array.role is None:
            unused.append(array.key)
            continue
        parts = found.setdefault((array.split, array.role), [])
        if parts and parts[0].base != array.base:
            names = ", ".join(Path(part.name).name for part in (parts[0], array))
            raise RhobetaError(f"{folder} holds {names} for the same thing; leave one.")
        parts.append(array)
    return found, unused


def _arrays_of_tables(
    files: list[Path],
) -> tuple[list[_Array], list[str] | None, list[str]]:
    """The features and labels of .parquet files, names of the features, and notes."""
    arrays, notes = [], []
    tables = [(path, ParquetTable(path)) for path in files]
    first_path, first = tables[0]
    for path, table in tables:
        if (table.columns, table.label_column) != (first.columns, first.label_column):
            raise RhobetaError(
                f"{path} has other columns than {first_path}; expected the same in every file."
            )
        split = _role_of(path.stem)[0]
        arrays.append(_Array(split, "values", "", path.name, str(path), partial(_opened, table)))
        if table.label_column is not None:
            name = f"{path}:{table.label_column}"
            opener = partial(_open_labels, table)
            arrays.append(_Array(split, "labels", "", table.label_column, name, opener))
    if first.unused:
        notes.append(f"columns that are not used: {_some(first.unused)}")
    return arrays, first.feature_names, notes


def _arrays_of_pictures(pictures: dict[str, PictureFolder], options: OwnOptions) -> list[_Array]:
    every = [file for split in pictures.values() for file in split.files]
    color = options.color or color_of(every)
    arrays = []
    for split, found in pictures.items():
        name = str(found.files[0].parent if found.labels is None else found.files[0].parents[1])
        values = Pictures(found.files, options.image_size, color)
        arrays.append(_Array(split, "values", "", name, name, partial(_opened, values)))
        if found.labels is not None:
            labels = ArrayInMemory(np.array(found.labels))
            arrays.append(_Array(split, "labels", "", name, name, partial(_opened, labels)))
    return arrays


def _is_in(path: Path, pictures: dict[str, PictureFolder]) -> bool:
    return any(path in found.files for found in pictures.values())


def _missing(parts: dict[tuple[str, str], list[_Array]]) -> str | None:
    words = {("train", "values"): "training images"}
    has_labels = any(role == "labels" for _, role in parts)
    if has_labels:
        words["train", "labels"] = "labels of the training images"
    if any(split == "test" for split, _ in parts):
        words["test", "values"] = "test images"
        if has_labels:
            words["test", "labels"] = "labels of the test images"
    return next((what for key, what in words.items() if key not in parts), None)


# Values


@dataclass(frozen=True)
class _Form:
    """What the values of a split become."""

    count: int
    shape: tuple[int, ...]
    """Of one sample."""
    dtype: type[np.generic]
    found: tuple[str, ...]
    """The types of the parts."""


def _form_of(parts: list[_Array], found: _Found, options: OwnOptions) -> _Form:
    """What the values of a split become, by the shapes and types of its parts."""
    shapes: dict[tuple[int, ...], str] = {}
    types, rows = set(), 0
    for part in parts:
        with part.open() as values:
            if values.dtype.kind not in "uifb":
                raise RhobetaError(f"{part.name} holds {values.dtype}; expected numbers.")
            shapes.setdefault(sample_shape_of(values.shape, part.name), part.name)
            types.add(values.dtype.name)
            rows += values.shape[0]
    if len(shapes) > 1:
        (one, first), (other, second) = list(shapes.items())[:2]
        raise RhobetaError(
            f"{first} holds {describe_shape(one)} but {second} {describe_shape(other)}; expected"
            " parts of one shape."
        )
    (shape,) = shapes
    if rows < 2 and parts[0].split == "train":
        raise RhobetaError(
            f"{_names(parts)} holds one row; expected many: a network learns what rows share."
        )
    if len(shape) == 1:
        if options.image_size or options.color:
            raise RhobetaError(
                "data.image_size and data.color are for images, but the data are vectors; set both"
                " to null."
            )
        dtype = np.float16 if types == {"float16"} else np.float32
        return _Form(rows, shape, dtype, tuple(sorted(types)))
    if options.image_size and not found.pictures and shape[:2] != tuple(options.image_size):
        raise RhobetaError(
            f"data.image_size is {list(options.image_size)}, but {_names(parts)} holds"
            f" {describe_shape(shape)}: only pictures in files are resized, arrays are not.\nSet it"
            " to null."
        )
    if options.color:
        shape = shape[:2] if options.color == "grey" else (*shape[:2], 3)
    return _Form(rows, shape, np.uint8, tuple(sorted(types)))


def _copy(found: _Found, split: str, form: _Form, into: Path, options: OwnOptions) -> Summary:
    """Write the values of a split, piece by piece; returns what they are."""
    shape, place = form.shape, 0 if split == "train" else 1
    summary, grey = Summary(shape), len(shape) == 2
    path = into / (IMAGES_AND_LABELS[place][0] if grey else ARRAY_NAMES[place])
    with path.open("wb") as file:
        if grey:
            write_idx_header(file, (form.count, *shape))
        else:
            descr = np.lib.format.dtype_to_descr(np.dtype(form.dtype))
            header = {"descr": descr, "fortran_order": False, "shape": (form.count, *shape)}
            np.lib.format.write_array_header_1_0(file, header)
        for part in found.parts[split, "values"]:
            with part.open() as values:
                for piece in _pieces(values, part.name, form, found.feature_names, options.color):
                    file.write(np.ascontiguousarray(piece).data)
                    summary.add(piece)
    return summary


def _pieces(
    values: Source, name: str, form: _Form, feature_names: list[str] | None, color: Color | None
) -> Iterator[NDArray[Any]]:
    if len(form.shape) == 1:
        return vector_pieces(values, name, form.dtype, feature_names)
    return (to_color(piece, color) for piece in image_pieces(values, name))


def _notes_on(
    parts: list[_Array], form: _Form, summary: Summary, feature_names: list[str] | None
) -> list[str]:
    shape, name = form.shape, _names(parts)
    name = name if len(parts) > 1 else Path(name).name
    kept = np.dtype(form.dtype).name
    types = kept if form.found == (kept,) else f"{' and '.join(form.found)} (kept as {kept})"
    notes = [
        f"{name}: {summary.count:,} {describe_shape(shape)}, {types} from"
        f" {summary.low:g} to {summary.high:g}, none missing, mean over standard deviation"
        f" {summary.mean_over_std:.3g}"
    ]
    if len(shape) > 1:
        note = dim_note(summary.high, 255, name)
        return notes if note is None else [*notes, note]
    constant = np.flatnonzero(summary.constant)
    if 0 < len(constant) < shape[0]:
        words = [feature_names[i] if feature_names else str(i) for i in constant]
        notes.append(f"columns that never change, counted from 0: {_some(words)}")
    spreads = summary.spreads[~summary.constant]
    if len(spreads) and spreads.max() > _UNEVEN * spreads.min():
        notes.append(
            f"standard deviations of the columns are from {spreads.min():.2g} to"
            f" {spreads.max():.2g}, and the squared error hardly sees the small ones: standardise"
            " the columns if each of them matters"
        )
    side = math.isqrt(shape[0])
    if feature_names is None and side > 3 and side**2 == shape[0] and summary.low >= 0:
        reshaped = f"values.reshape(-1, {side}, {side})"
        if summary.high in (1, 255):
            notes.append(f"if its rows are images, {reshaped} makes them so, as bytes (0 to 255)")
    return notes


# Labels


def _labels_of(found: _Found, split: str) -> NDArray[Any] | None:
    parts = found.parts.get((split, "labels"))
    if parts is None:
        return None
    read = []
    for part in parts:
        with part.open() as values:
            read.append(label_values(values, part.name))
    if len({values.dtype.kind for values in read}) > 1:
        read = [values.astype(str) for values in read]
    return np.concatenate(read)


def _write_labels(
    found: _Found, labels: dict[str, NDArray[Any] | None], into: Path
) -> list[str] | None:
    splits = [split for split, given in labels.items() if given is not None]
    given = [values for values in labels.values() if values is not None]
    if len({values.dtype.kind for values in given}) > 1:
        given = [values.astype(str) for values in given]
    codes, names = label_codes(given, _names(found.parts["train", "labels"]))
    for split, values in zip(splits, codes, strict=True):
        place = 0 if split == "train" else 1
        with (into / IMAGES_AND_LABELS[place][1]).open("wb") as file:
            write_idx_header(file, values.shape)
            file.write(values.data)
    return names


def _note_on_classes(labels: NDArray[Any] | None, names: list[str] | None) -> str:
    if names is None:
        return f"labels of {len(np.unique(labels if labels is not None else []))} classes"
    numbered = [f"{code} {name}" for code, name in enumerate(names)]
    return f"labels of {len(names)} classes: {_some(numbered)}"


# Words


def _names(parts: list[_Array]) -> str:
    if len(parts) == 1:
        return parts[0].name
    return f"{Path(parts[0].name).name} to {Path(parts[-1].name).name} ({len(parts)} parts)"


def _held_arrays(folder: Path) -> str:
    files = [path for path in visible_files(folder) if _kind(path)]
    if len(files) == 1 and _kind(files[0]) == ".npz":
        return f"{_some(files)} with the arrays {numpy_files.describe_arrays(files[0])}"
    if len(files) == 1 and _kind(files[0]) == ".safetensors":
        return f"{_some(files)} with the tensors {tensor_files.describe_tensors(files[0])}"
    return _some(files)


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


# Files


@contextmanager
def _opened(source: Source) -> Iterator[Source]:
    yield source


@contextmanager
def _open_labels(table: ParquetTable) -> Iterator[Source]:
    yield ArrayInMemory(table.labels())


@contextmanager
def _open_idx(path: Path) -> Iterator[Source]:
    yield ArrayInMemory(read_idx(_content(path), name=str(path)))


def _content(path: Path) -> bytes | bytearray | mmap:
    with path.open("rb") as file:
        if file.read(len(_GZIP_START)) != _GZIP_START:
            # Mapped: it may be larger than memory.
            size = os.fstat(file.fileno()).st_size
            return mmap(file.fileno(), 0, access=ACCESS_READ) if size else b""
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
