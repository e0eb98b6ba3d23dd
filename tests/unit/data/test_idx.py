"""The IDX format: what is written is read, and nothing else is taken for it."""

import math
import struct
import tracemalloc

import numpy as np
import pytest
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from helpers import idx_bytes
from rhobeta.data.idx import read_idx
from rhobeta.errors import RhobetaError

# Two rows of three bytes, by the description of the format.
EXAMPLE = bytes.fromhex("00000802 00000002 00000003 0a0b0c 0d0e0f")
VALUES = np.array([[10, 11, 12], [13, 14, 15]], dtype=np.uint8)


def header(*sizes, kind=8):
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, len(sizes), *sizes)


def refusal(content):
    with pytest.raises(RhobetaError) as caught:
        read_idx(content, name="the file's name")
    assert str(caught.value).startswith("the file's name ")
    return str(caught.value)


def test_worked_example_is_written_and_read():
    assert idx_bytes(VALUES) == EXAMPLE
    np.testing.assert_array_equal(read_idx(EXAMPLE, name="x"), VALUES)


@pytest.mark.parametrize(
    "shape", [(0,), (1,), (300,), (0, 28, 28), (3, 0, 2), (1, 1, 1), (5, 28, 28), (2, 3, 4, 5)]
)
def test_arrays_survive_the_round_trip(shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    found = read_idx(idx_bytes(values), name="x")
    assert found.dtype == np.uint8
    assert found.shape == shape
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    "view", [np.transpose, np.asfortranarray, lambda a: a[::2], lambda a: a[:, :, ::-1]]
)
def test_layout_in_memory_does_not_matter(view):
    values = view(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    np.testing.assert_array_equal(read_idx(idx_bytes(values), name="x"), values)


def test_values_are_a_view_of_the_content():
    content = idx_bytes(np.arange(200, dtype=np.uint8))
    assert np.shares_memory(read_idx(content, name="x"), np.frombuffer(content, np.uint8))


@pytest.mark.parametrize("part", ["values", "labels"])
def test_torchvision_reads_the_same_digits(digits, tmp_path, part):
    values = getattr(digits, part)
    (tmp_path / "digits-ubyte").write_bytes(idx_bytes(values))
    theirs = read_sn3_pascalvincent_tensor(str(tmp_path / "digits-ubyte")).numpy()
    np.testing.assert_array_equal(theirs, values)
    ours = read_idx((tmp_path / "digits-ubyte").read_bytes(), name="x")
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("length", range(len(EXAMPLE)))
def test_every_truncation_is_refused(length):
    refusal(EXAMPLE[:length])


@pytest.mark.parametrize("extra", [b"\0", b"\0" * 1000])
def test_bytes_to_spare_are_refused(extra):
    fault = refusal(EXAMPLE + extra)
    assert f"{len(EXAMPLE) + len(extra)} bytes" in fault
    assert "2 x 3 values, which makes 18" in fault


@pytest.mark.parametrize("start", [b"\1\0", b"\0\1", b"\x1f\x8b", b"PK"])
def test_wrong_magic_number_is_refused(start):
    assert "not an IDX file" in refusal(start + EXAMPLE[2:])


@pytest.mark.parametrize("kind", [0x00, 0x09, 0x0B, 0x0C, 0x0D, 0x0E, 0xFF])
def test_other_types_of_values_are_refused(kind):
    assert f"type {kind:#04x}" in refusal(header(2, 3, kind=kind) + b"\0" * 6)


def test_array_without_sizes_is_refused():
    refusal(header() + b"\7")


@pytest.mark.parametrize("sizes", [(2**32 - 1,), (60000, 28, 28), (2**32 - 1,) * 255])
def test_header_that_declares_much_is_refused(sizes):
    content = header(*sizes) + b"\0" * 100
    tracemalloc.start()
    try:
        refusal(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


@pytest.mark.parametrize(
    ("sizes", "values"),
    [((1,) * 65, b"\7"), ((0,) * 255, b""), ((0, 2**32 - 1, 2**32 - 1, 2**32 - 1), b"")],
)
def test_shape_that_no_array_can_have_is_refused(sizes, values):
    refusal(header(*sizes) + values)


def mutated(content, chance):
    content = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(len(content)) if content else 0
        match chance.randrange(6):
            case 0 | 1:
                content[place : place + 1] = [chance.randrange(256)]
            case 2:
                content[min(place, 15) : min(place, 15) + 1] = [chance.choice([0, 1, 2, 3, 8, 255])]
            case 3:
                del content[place:]
            case 4:
                del content[place : place + 1]
            case 5:
                content[place:place] = chance.randbytes(chance.randint(1, 4))
    return bytes(content)


def declared_shape(content):
    """The shape that `content` has by the description of the format, or None."""
    if content[:3] != b"\0\0\x08" or len(content) < 4:
        return None
    sizes = [content[at : at + 4] for at in range(4, 4 + 4 * content[3], 4)]
    if not sizes or len(sizes[-1]) < 4:
        return None
    shape = tuple(int.from_bytes(size, "big") for size in sizes)
    return shape if len(content) == 4 + 4 * len(sizes) + math.prod(shape) else None
