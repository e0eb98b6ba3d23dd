"""The user's own images and labels: IDX files or one .npz in `data/own`."""

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from rhobeta.data.datasets import IMAGES_AND_LABELS
from rhobeta.data.idx import LONGEST_HEADER, declared_length, read_idx
from rhobeta.errors import RhobetaError

_HOW = (
    "Put one of these into data/own: an .npz with the arrays `images` and `labels` (and, where"
    " there are any, `test_images` and `test_labels`; x_train, y_train, x_test, y_test do as well);"
    " or IDX files, gzipped or not, named train-images* and train-labels* (and t10k-images* and"
    " t10k-labels*)."
)
# Limit of what a compressed file may unpack to: EMNIST fits, a small file of gigabytes does not.
_LARGEST_UNPACKED = 1 << 30
_PIECE = 1 << 20
_NAMES_SHOWN = 20

_ARRAY_NAMES = (
    (("images", "x_train"), ("labels", "y_train")),
    (("test_images", "x_test"), ("test_labels", "y_test")),
)
_IDX_PREFIXES = (
    (("train-images",), ("train-labels",)),
    (("t10k-images", "test-images"), ("t10k-labels", "test-labels")),
)


def read_own(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Read the user's files; each array comes under the name of the IDX file that it becomes.

    Images are bytes (shape: [images, height, width]), labels bytes (shape: [images]). Test data is
    optional. A compressed array may unpack to 1 GiB; larger ones must be uncompressed.

    Raises:
        RhobetaError: The folder holds no data set, or one that cannot be read.
    """
    archives = sorted(path for path in folder.glob("*.npz") if path.is_file())
    if len(archives) > 1:
        names = ", ".join(path.name for path in archives)
        raise RhobetaError(f"{folder} holds several .npz files ({names}); leave one.")
    arrays = _from_npz(archives[0]) if archives else _from_idx(folder)
    if not arrays:
        raise RhobetaError(f"data.name is own, but {folder} holds no data set.\n{_HOW}")
    return arrays


def _from_npz(path: Path) -> dict[str, NDArray[np.uint8]]:
    arrays = {}
    try:
        with _archive(path) as archive:
            for targets, names in zip(IMAGES_AND_LABELS, _ARRAY_NAMES, strict=True):
                for target, candidates in zip(targets, names, strict=True):
                    found = [name for name in candidates if name in archive]
                    if found:
                        _require_bounded(path, found[0])
                        arrays[target] = _bytes(archive[found[0]], f"{path.name}:{found[0]}")
            known = list(archive)[:_NAMES_SHOWN]
    except RhobetaError:
        raise
    except Exception as error:
        # numpy and zipfile raise a dozen kinds of exception for files that are not what they say.
        raise RhobetaError(f"{path} is not a readable .npz file ({error}).\n{_HOW}") from None
    if not arrays:
        raise RhobetaError(f"{path} holds the arrays {', '.join(known) or 'none'}.\n{_HOW}")
    return arrays


def _archive(path: Path) -> NpzFile:
    if not zipfile.is_zipfile(path):
        raise TypeError("it is not an archive")
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, NpzFile):
        raise TypeError("it holds a single array, as .npy files do")
    return archive


def _require_bounded(path: Path, name: str) -> None:
    """Refuse an array by its declared size; no more than that is ever unpacked."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: info for info in archive.infolist()}
    info = members.get(f"{name}.npy") or members[name]
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is compressed in another way than np.savez_compressed does")
    if info.compress_type != zipfile.ZIP_STORED and info.file_size > _LARGEST_UNPACKED:
        raise ValueError(
            f"{name} unpacks to {info.file_size:,} bytes; np.savez, which does not compress, stores"
            f" arrays of more than {_LARGEST_UNPACKED >> 20} MiB"
        )


def _from_idx(folder: Path) -> dict[str, NDArray[np.uint8]]:
    arrays = {}
    for targets, prefixes in zip(IMAGES_AND_LABELS, _IDX_PREFIXES, strict=True):
        for target, candidates in zip(targets, prefixes, strict=True):
            found = sorted(path for prefix in candidates for path in _files(folder, prefix))
            if len(found) > 1:
                names = ", ".join(path.name for path in found)
                raise RhobetaError(f"{folder} holds {names} for the same thing; leave one.")
            if found:
                arrays[target] = read_idx(_content(found[0]), name=str(found[0]))
    return arrays


def _files(folder: Path, prefix: str) -> list[Path]:
    # `dvc add` writes a .dvc file beside each file that it takes.
    files = folder.glob(f"{prefix}*")
    return [path for path in files if path.suffix != ".dvc" and path.is_file()]


def _content(path: Path) -> bytes | bytearray:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return _unpacked(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RhobetaError(f"{path} is a damaged gzip file ({error}).") from None


def _unpacked(path: Path) -> bytearray:
    """What the gzip file holds, at most one byte more than its IDX header declares."""
    with gzip.open(path) as file:
        content = bytearray(file.read(LONGEST_HEADER))
        length = declared_length(content, name=str(path))
        if length > _LARGEST_UNPACKED:
            raise RhobetaError(
                f"{path} declares {length:,} bytes; a compressed file may hold at most"
                f" {_LARGEST_UNPACKED >> 20} MiB.\nIf it does hold them, unpack it with gunzip."
            )
        while len(content) <= length and (
            piece := file.read(min(_PIECE, length + 1 - len(content)))
        ):
            content += piece
    return content


def _bytes(values: Any, name: str) -> NDArray[np.uint8]:
    if not isinstance(values, np.ndarray):
        raise RhobetaError(f"{name} is not an array; expected bytes (uint8, 0 to 255).")
    if values.dtype == np.uint8:
        return values
    if np.issubdtype(values.dtype, np.integer) and values.size:
        low, high = int(values.min()), int(values.max())
        if low >= 0 and high <= 255:
            return values.astype(np.uint8)
        raise RhobetaError(f"{name} holds integers from {low} to {high}; expected 0 to 255.")
    raise RhobetaError(
        f"{name} holds {values.dtype}; expected bytes (uint8, 0 to 255)."
        " Images in [0, 1] become bytes with `(images * 255).round().astype('uint8')`."
    )
