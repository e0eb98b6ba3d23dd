"""The record of an evaluation, and the encoding of a split."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from helpers import with_right_checksum
from rhobeta.errors import RhobetaError
from rhobeta.metrics.encoding import encode_images
from rhobeta.metrics.evaluation import TestRecord
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.utils.checksum import EMPTY_CHECKSUM

ARRAYS = [field.name for field in dataclasses.fields(TestRecord) if field.name != "belongs_to"]


def record(**changes: Any) -> TestRecord:
    random = np.random.default_rng(0)
    values = {
        "activity": random.random((6, 3), dtype=np.float32),
        "examples": np.array([1, 0, 3], np.int64),
        "reconstructions": random.random((3, 8), dtype=np.float32),
        "feature_mse": random.random(8),
        "l0_counts": np.array([1, 2, 3, 0], np.int64),
        "l0_threshold": np.array([0.1]),
        "top_units": np.array([2, 0, 1], np.int64),
        "top_rows": random.integers(-1, 6, (3, 9)),
        "belongs_to": {"a model": "ab" * 32, "a table": "cd" * 32},
    }
    return TestRecord(**(values | changes))


def test_record_round_trip() -> None:
    original = record()
    rebuilt = TestRecord.from_bytes(original.to_bytes(), name="it")
    assert rebuilt.belongs_to == original.belongs_to
    for name in ARRAYS:
        values, expected = getattr(rebuilt, name), getattr(original, name)
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected, strict=True)


def test_record_bytes_do_not_depend_on_memory_layout() -> None:
    original = record()
    strided = record(activity=np.asfortranarray(original.activity))
    assert not strided.activity.flags.c_contiguous
    assert strided.to_bytes() == original.to_bytes() == record().to_bytes()


def refused(damaged: bytes) -> None:
    for content in (damaged, with_right_checksum(damaged)):
        with pytest.raises(RhobetaError, match=r"evaluation\.safetensors"):
            TestRecord.from_bytes(content, name="evaluation.safetensors")


def described(**changes: Any) -> dict[str, str]:
    values = {"_seal": EMPTY_CHECKSUM, "belongs_to": {}, "format": "rhobeta-evaluation-2"}
    return {"rhobeta": json.dumps(values | changes)}


@pytest.mark.parametrize("length", [0, 7, 8, 9, 200, -1])
def test_truncated_record_is_refused(length: int) -> None:
    refused(record().to_bytes()[:length])


@pytest.mark.parametrize("content", [b"not a record" * 100, b"\0" * 64])
def test_other_bytes_are_refused(content: bytes) -> None:
    refused(content)


def test_record_with_other_arrays_is_refused() -> None:
    tensors = load(record(belongs_to={}).to_bytes())
    # The description fits the right arrays.
    sound = with_right_checksum(save(tensors, metadata=described()))
    assert sound == record(belongs_to={}).to_bytes()
    for name in ARRAYS:
        fewer = {key: values for key, values in tensors.items() if key != name}
        refused(save(fewer, metadata=described()))
    refused(save(tensors | {"more": torch.zeros(1)}, metadata=described()))
    other_kind = {"activity": torch.zeros(6, 3, dtype=torch.bfloat16)}
    refused(save(tensors | other_kind, metadata=described()))


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"rhobeta": "not JSON"},
        {"rhobeta": "null"},
        {"rhobeta": "[]"},
        described(format="rhobeta-evaluation-0"),
        described(format="rhobeta-autoencoder-3"),
        described(belongs_to=None),
        described(belongs_to=7),
    ],
    ids=str,
)
def test_record_with_another_description_is_refused(metadata: dict[str, str] | None) -> None:
    refused(save(load(record().to_bytes()), metadata=metadata))


def test_flipped_bits_are_refused() -> None:
    whole = record().to_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        with pytest.raises(RhobetaError, match=r"do not match the checksum|holds no checksum"):
            TestRecord.from_bytes(bytes(damaged), name="it")


def model() -> Autoencoder:
    return Autoencoder(Architecture((2, 3), (4,), "tanh", "relu", "sigmoid"), seed=1).eval()


def pixels(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 6), dtype=np.float32)


def test_encode_images_is_what_the_model_gives() -> None:
    x = pixels(10)
    with torch.no_grad():
        expected = model()(torch.from_numpy(x))
    encoded = encode_images(model(), x)
    np.testing.assert_array_equal(encoded.code, expected.code)
    np.testing.assert_array_equal(encoded.activity, (1 + expected.code) / 2)
    np.testing.assert_array_equal(encoded.reconstruction, expected.reconstruction)


def test_encode_images_joins_pieces_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_images(model(), pixels(10))
    monkeypatch.setattr("rhobeta.metrics.encoding._PIECE", 4)
    pieces = encode_images(model(), pixels(10))
    for values, expected in zip(pieces, whole, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)
