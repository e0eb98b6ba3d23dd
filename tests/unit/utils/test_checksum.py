"""A digest of bytes inside those bytes."""

import hashlib
import json

import pytest

from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import (
    EMPTY_CHECKSUM,
    add_checksum,
    read_json_with_checksum,
    verify_checksum,
    write_json_with_checksum,
)

CONTENT = f'{{"seal": "{EMPTY_CHECKSUM}", "value": 0.5}}'.encode()


def test_checksum_is_the_digest_of_the_bytes_before_it() -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert add_checksum(CONTENT) == f'{{"seal": "sha256:{digest}", "value": 0.5}}'.encode()


def test_every_flipped_bit_is_detected() -> None:
    checked = add_checksum(CONTENT)
    verify_checksum(checked)
    for position in range(len(checked)):
        for bit in range(8):
            damaged = bytearray(checked)
            damaged[position] ^= 1 << bit
            with pytest.raises(RhobetaError):
                verify_checksum(bytes(damaged))


@pytest.mark.parametrize("other", [b"\0", b"more", EMPTY_CHECKSUM.encode()])
def test_more_or_fewer_bytes_are_detected(other: bytes) -> None:
    checked = add_checksum(CONTENT)
    for damaged in (checked + other, other + checked, checked[: -len(other)]):
        with pytest.raises(RhobetaError):
            verify_checksum(damaged)


@pytest.mark.parametrize("content", [b"", b"sha256:", b"{}", b"0" * 64])
def test_bytes_without_a_checksum_are_refused(content: bytes) -> None:
    with pytest.raises(RhobetaError, match="no checksum"):
        verify_checksum(content)
    with pytest.raises(ValueError, match="in the place of"):
        add_checksum(content)


def test_text_like_a_checksum_is_content_only_behind_it() -> None:
    digest = f"sha256:{'ab' * 32}".encode()
    checked = add_checksum(CONTENT + digest + EMPTY_CHECKSUM.encode())
    verify_checksum(checked)
    assert checked.endswith(digest + EMPTY_CHECKSUM.encode())
    with pytest.raises(ValueError, match="abab"):
        add_checksum(digest + CONTENT)


def test_json_with_checksum_survives_the_round_trip(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_json_with_checksum(path, {"b": 0.1 + 0.2, "a": [1, None, "β"]})
    value = read_json_with_checksum(path, made_by="rhobeta x")
    assert json.loads(path.read_text()) == value
    assert list(value) == ["seal", "b", "a"]
    assert value["b"] == 0.1 + 0.2
    write_json_with_checksum(tmp_path / "b.json", value)
    assert (tmp_path / "b.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff" * 100, EMPTY_CHECKSUM.encode()])
def test_damaged_json_with_checksum_is_named(tmp_path, content) -> None:
    path = tmp_path / "a.json"
    if content == EMPTY_CHECKSUM.encode():
        content = add_checksum(content)  # whole, but no JSON
    path.write_bytes(content)
    with pytest.raises(RhobetaError) as caught:
        read_json_with_checksum(path, made_by="rhobeta x")
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert "`rhobeta x`" in str(caught.value)
