"""Folders of pictures, by class as torchvision's ImageFolder reads them, or without classes."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.picture_files import FORMATS, picture_kind, read_pixels
from rhobeta.data.values import Color
from rhobeta.errors import RhobetaError
from rhobeta.utils.files import visible_files


@dataclass(frozen=True)
class PictureFolder:
    """Pictures of one split, in the order of classes and names."""

    files: list[Path]
    labels: list[str] | None
    """The class of each, by the name of its folder; None: there are no classes."""


def find_pictures(folder: Path) -> tuple[dict[str, PictureFolder], list[Path]]:
    """The pictures in a folder by split ("train", "test"), and what beside them is not read.

    Where there are folders `train` and `test`, the pictures of a split lie in its folder, else all
    are training pictures. Folders in it are classes; a single one is none.
    """
    inside = visible_files(folder)
    named = {path.name.lower(): path for path in inside if path.is_dir()}
    if "train" not in named:
        found = _of_classes(folder)
        return ({"train": found} if found.files else {}), []
    splits = {"train": _of_classes(named["train"])}
    if "test" in named:
        labelled = splits["train"].labels is not None
        splits["test"] = _of_classes(named["test"], fewest=1 if labelled else 2)
    taken = {named[name] for name in splits}
    left = [path for path in inside if path not in taken]
    return {name: found for name, found in splits.items() if found.files}, left


class Pictures:
    """Pictures as an array of bytes that is decoded piece by piece."""

    def __init__(self, files: list[Path], size: tuple[int, int] | None, color: Color) -> None:
        """All become `size` (height, width); None: all must have the size of the first."""
        self._files, self._color, self._resized = files, color, size is not None
        self._size = size or picture_kind(files[0]).size
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """(pictures, height, width), and 3 in colour."""
        return (len(self._files), *self._size, *((3,) if self._color == "rgb" else ()))

    def pieces(self, rows: int) -> Iterator[NDArray[np.uint8]]:
        """The pictures, at most `rows` at a time."""
        for start in range(0, len(self._files), rows):
            read = (
                read_pixels(file, self._size, resized=self._resized, color=self._color)
                for file in self._files[start : start + rows]
            )
            yield np.stack(list(read))


def color_of(files: list[Path]) -> Color:
    """Grey where every picture is stored in grey levels, else rgb."""
    return "grey" if all(picture_kind(file).is_grey for file in files) else "rgb"


def _of_classes(folder: Path, *, fewest: int = 2) -> PictureFolder:
    inside = visible_files(folder)
    flat = [path for path in inside if _is_picture(path)]
    classes = {path.name: _below(path) for path in inside if path.is_dir()}
    classes = {name: files for name, files in classes.items() if files}
    if flat and classes:
        raise RhobetaError(
            f"{folder} holds pictures ({flat[0].name}) and folders of pictures"
            f" ({', '.join(sorted(classes)[:3])}).\nPut every picture into the folder of its class,"
            " or all into one folder."
        )
    if flat or len(classes) < fewest:
        return PictureFolder(flat or [file for files in classes.values() for file in files], None)
    pairs = [(file, name) for name in sorted(classes) for file in classes[name]]
    return PictureFolder([file for file, _ in pairs], [name for _, name in pairs])


def _below(folder: Path) -> list[Path]:
    """The pictures in a folder and in folders below it."""
    return [
        Path(root, name)
        for root, folders, names in sorted(os.walk(folder))
        if not any(part.startswith(".") for part in Path(root).relative_to(folder).parts)
        for name in sorted(names)
        if _is_picture(Path(root, name))
    ]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in FORMATS and not path.name.startswith(".") and path.is_file()
