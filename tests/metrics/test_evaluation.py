"""What evaluation keeps of the test split, and how a split goes through a model."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save

from rhobeta.errors import RhobetaError
from rhobeta.metrics.encoding import encode_images
from rhobeta.metrics.evaluation import TestRecord, first_of_each_class
from rhobeta.model.autoencoder import Architecture, Autoencoder


def record(**changes: Any) -> TestRecord:
    random = np.random.default_rng(0)
    values = {
        "activity": random.random((6, 3), dtype=np.float32),
        "labels": np.array([1, 0, 1, 2, 2, 0], np.uint8),
        "examples": random.random((3, 2, 4), dtype=np.float32),
        "reconstructions": random.random((3, 2, 4), dtype=np.float32),
        "l0_counts": np.array([1, 2, 3, 0], np.int64),
        "l0_threshold": np.array([0.1]),
        "top_units": np.array([2, 0, 1], np.int64),
        "top_images": random.integers(0, 256, (3, 9, 2, 4), dtype=np.uint8),
    }
    return TestRecord(**(values | changes))


def test_a_record_comes_back_bit_for_bit() -> None:
    original = record()
    rebuilt = TestRecord.from_bytes(original.to_bytes(), name="it")
    for field in dataclasses.fields(TestRecord):
        values, expected = getattr(rebuilt, field.name), getattr(original, field.name)
        assert values.dtype == expected.dtype
        np.testing.assert_array_equal(values, expected, strict=True)


def test_the_same_record_is_the_same_bytes_however_it_lies_in_memory() -> None:
    original = record()
    strided = record(activity=np.asfortranarray(original.activity))
    assert not strided.activity.flags.c_contiguous
    assert strided.to_bytes() == original.to_bytes() == record().to_bytes()


def refused(damaged: bytes) -> None:
    with pytest.raises(RhobetaError, match=r"evaluation\.safetensors"):
        TestRecord.from_bytes(damaged, name="evaluation.safetensors")


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 60, 200, -100, -1])
def test_a_truncated_record_is_refused(length: int) -> None:
    refused(record().to_bytes()[:length])


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("position", range(9))
def test_a_flipped_bit_in_the_headers_length_or_first_brace_is_refused(
    position: int, bit: int
) -> None:
    damaged = bytearray(record().to_bytes())
    damaged[position] ^= 1 << bit
    refused(bytes(damaged))


@pytest.mark.parametrize("content", [b"not a record" * 100, bytes(range(256)), b"\0" * 64])
def test_other_bytes_are_refused(content: bytes) -> None:
    refused(content)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(TestRecord)])
def test_a_record_without_one_of_its_fields_is_refused(field: str) -> None:
    tensors = load(record().to_bytes())
    del tensors[field]
    refused(save(tensors))


def test_a_record_with_one_more_field_is_refused() -> None:
    refused(save(load(record().to_bytes()) | {"more": torch.zeros(1)}))


def test_a_record_of_numbers_that_numpy_does_not_have_is_refused() -> None:
    refused(save(load(record().to_bytes()) | {"activity": torch.zeros(6, 3, dtype=torch.bfloat16)}))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ([7, 3, 7, 3, 0, 9, 0], [4, 1, 0, 5]),
        ([5, 5, 5], [0]),
    ],
)
def test_first_of_each_class_in_the_order_of_the_classes(
    labels: list[int], expected: list[int]
) -> None:
    assert first_of_each_class(np.array(labels, np.uint8)).tolist() == expected


def model() -> Autoencoder:
    return Autoencoder(Architecture((2, 3), (4,), "tanh", "relu", "sigmoid"), seed=1).eval()


def pixels(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).random((count, 6), dtype=np.float32)


def test_a_split_through_a_model_is_what_the_model_gives() -> None:
    x = pixels(10)
    with torch.no_grad():
        expected = model()(torch.from_numpy(x))
    encoded = encode_images(model(), x)
    np.testing.assert_array_equal(encoded.code, expected.code)
    np.testing.assert_array_equal(encoded.activity, (1 + expected.code) / 2)
    np.testing.assert_array_equal(encoded.reconstruction, expected.reconstruction)


def test_pieces_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = encode_images(model(), pixels(10))
    monkeypatch.setattr("rhobeta.metrics.encoding._PIECE", 4)
    pieces = encode_images(model(), pixels(10))
    for values, expected in zip(pieces, whole, strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-7)
