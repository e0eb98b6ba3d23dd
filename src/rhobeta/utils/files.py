"""Files that appear whole or not at all, and their digests."""

import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError


def sha256_of_bytes(content: bytes) -> str:
    """SHA-256 of `content` as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def md5_of_bytes(content: bytes) -> str:
    """MD5 of `content` as 32 hexadecimal digits, by which DVC names files; not for security."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def sha256_of_file(path: Path) -> str:
    """SHA-256 of the file's bytes as 64 hexadecimal digits, read in small pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it is flushed to disk and renamed.

    If the body raises, the partial file is removed and `path` stays as it was. A killed process
    leaves the partial file: its name starts with a dot and ends in `.part`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        # A failed write does not know its file, and a message should name it.
        error.filename = error.filename or str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside `path` to fill; on success it takes the place of `path`.

    If the body raises, `path` stays as it was. A process killed between the two renames leaves no
    `path`, never half of one. One process at a time may call this for a `path`: partial folders
    (`.<name>.part`, `.<name>.old.part`) that a killed process left are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (path.with_name(f".{path.name}{end}") for end in (".part", ".old.part"))
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            path.replace(old)
        partial.replace(path)
    finally:
        if old.exists() and not path.exists():
            old.replace(path)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def visible_files(folder: Path) -> list[Path]:
    """What lies in a folder, in the order of the names, without hidden files and folders.

    Hidden is what begins with a dot, such as the `._digits.npz` that a Mac writes beside a file.
    """
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(found, key=lambda path: path.name)


def private_file(path: Path) -> None:
    """Make an empty file for what may hold secrets, and its folder, unless it is there.

    Its user alone can read it; its group as well if the umask lets a group write, as in a folder
    that a team shares.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o660))
        _leave_out_readers(path)


def private_folder(path: Path) -> None:
    """As `private_file`, for a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(0o770)
        _leave_out_readers(path)


def _leave_out_readers(path: Path) -> None:
    mode = path.stat().st_mode
    if not mode & stat.S_IWGRP:
        path.chmod(stat.S_IMODE(mode) & ~0o077)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all.

    Bytes of a file's name that are not text, which Python holds as surrogates, become escapes.
    """
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


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
    """Return `path` if it is a file.

    Raises `RhobetaError`, which names the command that writes it, otherwise.
    """
    if not path.is_file():
        raise RhobetaError(
            f"{path} is missing.\nIt is written by `{made_by}`. `dvc repro` runs every stage that"
            " is needed; `dvc checkout` or `dvc pull` restores a file that was made before."
        )
    return path
