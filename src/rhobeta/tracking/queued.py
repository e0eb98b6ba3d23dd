"""Actions of one run on disk, in order.

One folder an action, which appears whole or not at all and holds JSON and files alone. The names
give the order. Several processes may add to a run's folder, and one at a time takes from it.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.tracking.actions import Action
from rhobeta.utils.files import atomic_folder

_RACES = 10
_ACTION = "action.json"
_FILES = "files"
_DONE = ".done-"


def put(folder: Path, action: Action, origin: Mapping[str, Any]) -> None:
    """Add an action to the folder of its run, behind those that wait there.

    `origin` is kept with it. Raises `OSError` where the disk does not take it.
    """
    content = {"kind": action.kind, "data": action.data, "origin": origin}
    for _ in range(_RACES):
        there = names(folder)
        # The clock may be set back, and what comes later must not come first.
        after = int(there[-1].partition("-")[0]) + 1 if there else 0
        number = max(time.time_ns(), after)
        try:
            with atomic_folder(folder / f"{number:020d}-{os.getpid()}-{action.kind}") as partial:
                (partial / _ACTION).write_text(json.dumps(content), encoding="utf-8")
                _copy(action.files, partial / _FILES)
        except FileNotFoundError:
            # Who delivered the last action has removed the run's folder in this moment.
            if folder.is_dir():
                raise
        else:
            return
    raise RhobetaError(f"{folder} could not be written.")


def _copy(files: Mapping[str, Path], folder: Path) -> None:
    folder.mkdir()
    for name, path in files.items():
        if path.is_dir():
            shutil.copytree(path, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(path, folder / name)


def read(place: Path) -> Action:
    """The action in this folder. Raises `RhobetaError` where it is damaged."""
    content = content_of(place)
    return Action(content["kind"], content["data"], {p.name: p for p in (place / _FILES).iterdir()})


def content_of(place: Path) -> Any:
    """Kind, data and origin of the action in this folder, without its files."""
    try:
        return json.loads((place / _ACTION).read_text(encoding="utf-8"))
    except ValueError:
        raise RhobetaError(
            f"{place} is damaged, and with it what was to be logged into MLflow run"
            f" {place.parent.name}.\nRemove it, and the rest of the run can be delivered."
        ) from None


def names(folder: Path) -> list[str]:
    """Of the actions that wait, the first first."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):
        return []


def remove(place: Path) -> None:
    """Remove an action that has been done."""
    # Renamed first: a process killed while it removes leaves no half of an action.
    done = place.with_name(f"{_DONE}{place.name}")
    place.rename(done)
    shutil.rmtree(done, ignore_errors=True)


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Whether this process alone delivers from the folder, as long as the body runs."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _locked(handle)
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # A file system without locks.
        return True
    return True


def tidy(folder: Path) -> None:
    """Remove the folder if nothing waits in it, with what killed processes have left."""
    if names(folder):
        return
    for left in folder.glob(".*"):
        with held(left) as unused:
            if unused:
                shutil.rmtree(left, ignore_errors=True)
    # Not empty where another process has just added to it.
    with suppress(OSError):
        folder.rmdir()
    with suppress(OSError):
        folder.parent.rmdir()
