"""The user's own images and labels: IDX files or one .npz in `data/own`."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from rhobeta.data.idx import read_idx
from rhobeta.data.registry import IMAGES_AND_LABELS
from rhobeta.errors import RhobetaError

_HOW = (
    "Put one of these into data/own: an .npz with the arrays `images` and `labels` (and, where"
    " there are any, `test_images` and `test_labels`; x_train, y_train, x_test, y_test do as well);"
    " or IDX files, gzipped or not, named train-images* and train-labels* (and t10k-images* and"
    " t10k-labels*)."
)
_ARRAY_NAMES = (
    (("images", "x_train"), ("labels", "y_train")),
    (("test_images", "x_test"), ("test_labels", "y_test")),
)
_IDX_PREFIXES = (
    (("train-images",), ("train-labels",)),
    (("t10k-images", "test-images"), ("t10k-labels", "test-labels")),
)


def read_own(folder: Path) -> dict[str, NDArray[np.uint8]]:
    """Arrays of the user's files by the name of the IDX file that each becomes.

    Images are (images, height, width) bytes, labels (images,) bytes. Test data is optional.
    Raises `RhobetaError` on anything else.
    """
    archives = sorted(folder.glob("*.npz"))
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
                        arrays[target] = _bytes(archive[found[0]], f"{path.name}:{found[0]}")
            known = list(archive)
    except RhobetaError:
        raise
    except Exception as error:
        # numpy and zipfile raise a dozen kinds of exception for files that are not what they say.
        raise RhobetaError(f"{path} is not a readable .npz file ({error}).\n{_HOW}") from None
    if not arrays:
        raise RhobetaError(f"{path} holds the arrays {', '.join(known) or 'none'}.\n{_HOW}")
    return arrays


def _archive(path: Path) -> NpzFile:
    archive = np.load(path, allow_pickle=False)
    if not isinstance(archive, NpzFile):
        raise TypeError("it holds a single array, as .npy files do")
    return archive


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
    return [path for path in folder.glob(f"{prefix}*") if path.suffix != ".dvc"]


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RhobetaError(f"{path} is a damaged gzip file ({error}).") from None


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
