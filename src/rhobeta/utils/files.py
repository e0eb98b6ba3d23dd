"""Files that appear whole or not at all, and their digests."""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError

_CHUNK_BYTES = 1 << 20
_PART = ".part"


def sha256_of_bytes(content: bytes) -> str:
    """SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def md5_of_bytes(content: bytes) -> str:
    """MD5 of `content` as 32 hexadecimal digits: the name that DVC knows it by, no proof."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of the file's bytes as 64 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is flushed to disk and renamed.

    If the body raises, nothing appears at `path`, what stood there before stays, and the
    partial file is removed. The partial file's name starts with a dot and ends in `.part`, so
    that one left by a killed process is never taken for the real thing; whoever writes `path`
    next removes it.
    """
    with _partial(path, folder=False) as partial:
        yield partial
        # mkstemp makes files private; give this one the mode that any new file would get.
        partial.chmod(0o666 & ~_umask())
        _flush(partial)
        partial.replace(path)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` to fill; on success it takes the place of `path`.

    If the body raises, `path` is as it was before. Between the renaming of the old folder and that
    of the new one there is a moment without either, never one with half of it.
    """
    with _partial(path, folder=True) as partial:
        yield partial
        partial.chmod(0o777 & ~_umask())
        for child in partial.rglob("*"):
            _flush(child)
        _flush(partial)
        if not path.is_dir():
            partial.replace(path)
            return
        # Removed after it was renamed: a process killed while it removes leaves no half of it.
        displaced = partial.with_suffix(f".old{_PART}")
        try:
            path.replace(displaced)
            partial.replace(path)
            _remove(displaced)
        except BaseException:
            # A signal may have come between any two of these.
            if not path.exists():
                displaced.replace(path)
            _remove(displaced)
            raise


@contextmanager
def _partial(path: Path, *, folder: bool) -> Iterator[Path]:
    # Locked while it is worked on, by which others tell it from one that a killed process left.
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_stale(path)
    prefix = f".{path.name}."
    partial, handle = None, -1
    try:
        while True:
            if folder:
                partial = Path(tempfile.mkdtemp(_PART, prefix, path.parent))
            else:
                new, name = tempfile.mkstemp(_PART, prefix, path.parent)
                partial = Path(name)
                os.close(new)
            try:
                handle = os.open(partial, os.O_RDONLY)
            except FileNotFoundError:
                continue
            _lock(handle, wait=True)
            if partial.exists():
                break
            os.close(handle)  # Removed as stale before it was locked.
            handle = -1
        yield partial
    except OSError as error:
        # A write that fails does not know its file; whoever reads the message should.
        error.filename = error.filename or str(path)
        raise
    finally:
        if partial is not None:
            _remove(partial)
        if handle >= 0:
            os.close(handle)


def _remove_stale(path: Path) -> None:
    for partial in path.parent.glob(f".{glob.escape(path.name)}.*{_PART}"):
        # Another may remove it at the same time, or it may be another user's.
        with suppress(OSError):
            handle = os.open(partial, os.O_RDONLY)
            try:
                if _lock(handle, wait=False):
                    _remove(partial)
            finally:
                os.close(handle)


def _lock(handle: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Held by another; or a file system without locks, on which nothing is taken for stale.
        return False
    return True


def _remove(partial: Path) -> None:
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    with atomic_write(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, whole or not at all.

    Raises `ValueError` for NaN and infinity, which JSON does not have.
    """
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path, *, made_by: str) -> Any:
    """Read the JSON file that `made_by` (a command, for the error's advice) writes.

    Raises `RhobetaError` where it is missing or is not JSON.
    """
    require_file(path, made_by=made_by)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RhobetaError(
            f"{path} is not valid JSON ({error}).\nRun `{made_by}` again."
        ) from error


def require_file(path: Path, *, made_by: str) -> Path:
    """Return `path` if it is a file; else raise `RhobetaError` naming the command that makes it."""
    if not path.is_file():
        raise RhobetaError(
            f"{path} is missing.\nIt is written by `{made_by}`; `dvc repro` runs all that is"
            " needed, and `dvc pull` or `dvc checkout` brings it where it was made before."
        )
    return path


def _umask() -> int:
    # Python can only read the mask by setting it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
