"""Files that appear whole or not at all, and their digests."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError

_CHUNK_BYTES = 1 << 20


def sha256_of_bytes(content: bytes) -> str:
    """SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of the file's bytes as 64 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is flushed to disk and renamed.

    If the body raises, nothing appears at `path`, what stood there before stays, and the
    partial file is removed. The partial file's name starts with a dot and ends in `.part`, so
    that one left by a killed process is never taken for the real thing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes files private; give this one the mode that any new file would get.
        partial.chmod(0o666 & ~_umask())
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        # A write that fails does not know its file; whoever reads the message should.
        error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` to fill; on success it takes the place of `path`.

    If the body raises, `path` is as it was before. Between the removal of the old folder and the
    renaming of the new one there is a moment without either, never one with half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content`, whole or not at all."""
    with whole_file(path) as partial:
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
    except ValueError as error:
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
