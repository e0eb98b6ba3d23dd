"""A checksum of a file inside the file, so that damage to any byte is detected.

The file holds the text `EMPTY_CHECKSUM` near its start. `add_checksum` replaces its zeros by the
SHA-256 of the whole file with the zeros in it. So the file can be checked wherever it lies. This
detects damage, not forgery: anybody can compute a checksum.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.utils.files import require_file, sha256_of_bytes, write_bytes

EMPTY_CHECKSUM = f"sha256:{'0' * 64}"
"""The text that the checksum replaces."""

_CHECKSUM = re.compile(rb"sha256:[0-9a-f]{64}")


def add_checksum(content: bytes) -> bytes:
    """`content` with its first `EMPTY_CHECKSUM` replaced by the checksum of all of it.

    Raises `ValueError` where that text is absent or a checksum is there already.
    """
    emptied, found = _emptied(content)
    if found != EMPTY_CHECKSUM.encode():
        raise ValueError(f"found {found!r} in the place of {EMPTY_CHECKSUM}")
    return emptied.replace(found, _checksum_of(emptied), 1)


def verify_checksum(content: bytes) -> None:
    """Raise `RhobetaError`, with the reason alone, unless the checksum in `content` is right."""
    emptied, found = _emptied(content)
    if found == b"":
        raise RhobetaError("it holds no checksum")
    if found != _checksum_of(emptied):
        raise RhobetaError("its bytes do not match the checksum in it")


def write_json_with_checksum(path: Path, value: Mapping[str, Any]) -> None:
    """Write `value` and its checksum as indented JSON, whole or not at all."""
    # The key comes first, before all text that could look like a checksum.
    content = {"seal": EMPTY_CHECKSUM} | {k: v for k, v in value.items() if k != "seal"}
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    write_bytes(path, add_checksum(text.encode()))


def read_with_checksum(path: Path, *, made_by: str) -> bytes:
    """The bytes of a file with a checksum; `made_by` (a command) is for the error's advice.

    Raises `RhobetaError` where the file is missing or damaged.
    """
    content = require_file(path, made_by=made_by).read_bytes()
    try:
        verify_checksum(content)
    except RhobetaError as error:
        raise RhobetaError(f"{path} is damaged: {error}.\nRun `{made_by}` again.") from None
    return content


def read_json_with_checksum(path: Path, *, made_by: str) -> Any:
    """The value that `write_json_with_checksum` wrote.

    Raises `RhobetaError` where the file is missing, damaged or no JSON.
    """
    content = read_with_checksum(path, made_by=made_by)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RhobetaError(f"{path} is damaged: {error}.\nRun `{made_by}` again.") from None


def _emptied(content: bytes) -> tuple[bytes, bytes]:
    """The content as it was before `add_checksum`, and the checksum found in it."""
    match = _CHECKSUM.search(content)
    if match is None:
        return content, b""
    return content.replace(match[0], EMPTY_CHECKSUM.encode(), 1), match[0]


def _checksum_of(emptied: bytes) -> bytes:
    return f"sha256:{sha256_of_bytes(emptied)}".encode()
