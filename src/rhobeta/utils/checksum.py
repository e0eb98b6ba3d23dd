"""A digest of a file's bytes inside those bytes, so that any damage to them is seen.

The file holds the text `EMPTY_CHECKSUM` in its first part. `add_checksum` replaces its zeros by the
SHA-256 of the whole file with that text in it, so that the file can be checked wherever it lies.
This detects damage, not forgery: anybody can compute a checksum.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.utils.files import require_file, sha256_of_bytes, write_bytes

EMPTY_CHECKSUM = f"sha256:{'0' * 64}"
"""What the seal takes the place of."""

_SEAL = re.compile(rb"sha256:[0-9a-f]{64}")


def add_checksum(content: bytes) -> bytes:
    """`content` with its first `EMPTY_CHECKSUM` replaced by the checksum of all of it.

    Raises `ValueError` where that text is absent or a checksum is there already.
    """
    opened, found = _opened(content)
    if found != EMPTY_CHECKSUM.encode():
        raise ValueError(f"found no {EMPTY_CHECKSUM} where the seal belongs, but {found!r}")
    return opened.replace(found, _seal_of(opened), 1)


def verify_checksum(content: bytes) -> None:
    """Raise `RhobetaError`, with the reason alone, unless these are the bytes that were sealed."""
    opened, found = _opened(content)
    if found == b"":
        raise RhobetaError("it holds no digest of itself")
    if found != _seal_of(opened):
        raise RhobetaError("its bytes are not those that were written")


def write_sealed_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` and its seal as indented JSON, whole or not at all."""
    # First, before all text that could look like it.
    sealed = {"seal": EMPTY_CHECKSUM} | {
        name: part for name, part in value.items() if name != "seal"
    }
    text = json.dumps(sealed, indent=2, allow_nan=False) + "\n"
    write_bytes(path, add_checksum(text.encode()))


def read_sealed(path: Path, *, made_by: str) -> bytes:
    """The bytes of a sealed file; `made_by` (a command) is for the error's advice.

    Raises `RhobetaError` where the file is missing or damaged.
    """
    content = require_file(path, made_by=made_by).read_bytes()
    try:
        verify_checksum(content)
    except RhobetaError as error:
        raise RhobetaError(f"{path} is damaged: {error}.\nRun `{made_by}` again.") from None
    return content


def read_sealed_json(path: Path, *, made_by: str) -> Any:
    """What `write_sealed_json` wrote, read as `read_sealed` does.

    Raises `RhobetaError` where it is no JSON, too.
    """
    content = read_sealed(path, made_by=made_by)
    try:
        return json.loads(content)
    except ValueError as error:
        raise RhobetaError(f"{path} is damaged: {error}.\nRun `{made_by}` again.") from None


def _opened(content: bytes) -> tuple[bytes, bytes]:
    # The content as it was before sealing, and the seal that was found in it.
    match = _SEAL.search(content)
    if match is None:
        return content, b""
    return content.replace(match[0], EMPTY_CHECKSUM.encode(), 1), match[0]


def _seal_of(opened: bytes) -> bytes:
    return f"sha256:{sha256_of_bytes(opened)}".encode()
