"""What a model file says of itself, read without building the model, and so without torch."""

import json
import struct
from typing import Any

FORMAT = "rhobeta-autoencoder-3"

MALFORMED = (
    ValueError,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RecursionError,
    struct.error,
)
"""What reading a header raises that is not what it should be."""


def metadata_in(content: bytes, format_name: str) -> dict[str, Any]:
    """The description in the header of safetensors bytes, without its format and seal.

    Raises `ValueError` where the format is not `format_name`, and one of `MALFORMED` where the
    header is not that of such a file.
    """
    (header_length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + header_length])
    described: dict[str, Any] = json.loads(header["__metadata__"]["rhobeta"])
    if described.pop("format") != format_name:
        raise ValueError(f"its format is not {format_name}")
    del described["_seal"]
    return described


def described_in(content: bytes) -> dict[str, Any]:
    """The description in the bytes of a model file, as plain values. Raises as `metadata_in`."""
    return metadata_in(content, FORMAT)
