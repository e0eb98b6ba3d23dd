"""The order in which images are trained on, and bytes as numbers."""

import numpy as np
import pytest
import torch

from rhobeta.data.batches import ShuffledChunks, permutation, pixels_of, to_unit_interval


def numbered(count):
    """Images that each hold their own number, as two bytes."""
    numbers = torch.arange(count)
    return torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8)


def chunks_of(count, *, batch_size=4, seed=0, batches_per_chunk=3):
    return ShuffledChunks(
        numbered(count), batch_size=batch_size, seed=seed, batches_per_chunk=batches_per_chunk
    )


def order(chunks, epoch=0):
    """The numbers of an epoch's images as they come."""
    chunks.sampler.set_epoch(epoch)
    return [256 * int(high) + int(low) for chunk in chunks for high, low in chunk]


@pytest.mark.parametrize("count", [1, 11, 12, 13, 24, 1000])
@pytest.mark.parametrize("epoch", [0, 1, 7])
def test_every_image_comes_once_in_an_epoch(count, epoch):
    assert sorted(order(chunks_of(count), epoch)) == list(range(count))


@pytest.mark.parametrize(
    ("count", "lengths"),
    [(1, [1]), (11, [11]), (12, [12]), (13, [12, 1]), (24, [12, 12]), (31, [12, 12, 7])],
)
def test_only_the_last_chunk_is_shorter(count, lengths):
    chunks = chunks_of(count, batch_size=4, batches_per_chunk=3)
    assert [len(chunk) for chunk in chunks] == lengths
    assert len(chunks) == len(lengths)
    assert all(chunk.dtype == torch.uint8 for chunk in chunks)


@pytest.mark.parametrize(("batch_size", "batches_per_chunk"), [(1, 1), (7, 1), (5, 4), (100, 10)])
def test_how_the_epoch_is_cut_does_not_change_its_order(batch_size, batches_per_chunk):
    cut = chunks_of(100, batch_size=batch_size, batches_per_chunk=batches_per_chunk)
    assert order(cut, 3) == order(chunks_of(100), 3)


def test_an_epoch_can_be_repeated_whatever_was_drawn_before():
    first = order(chunks_of(500, seed=3), epoch=2)
    later = chunks_of(500, seed=3)
    for epoch in (5, 0):
        order(later, epoch)
    torch.manual_seed(99)
    torch.rand(17)
    np.random.default_rng(1).random(5)
    assert order(later, epoch=2) == first
    assert order(later, epoch=2) == first


def test_drawing_an_epoch_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    order(chunks_of(50))
    assert torch.equal(torch.rand(3), expected)


def test_epochs_and_seeds_have_orders_of_their_own():
    pairs = [(seed, epoch) for seed in (0, 1, 2, 2**32 - 1) for epoch in range(20)]
    orders = {tuple(permutation(200, seed=s, epoch=e).tolist()) for s, e in pairs}
    assert len(orders) == len(pairs)


def test_an_epoch_is_shuffled_evenly():
    # The mean place of each image over many epochs; its standard error is 99.5 / sqrt(3) / 20.
    places = torch.stack(
        [torch.argsort(permutation(200, seed=0, epoch=epoch)) for epoch in range(400)]
    )
    deviation = (places.double().mean(dim=0) - 99.5).abs().max().item()
    assert deviation < 5 * 99.5 / 3**0.5 / 20


def test_the_permutation_is_of_int64_on_the_cpu():
    drawn = permutation(10, seed=0, epoch=0)
    assert drawn.dtype == torch.int64
    assert drawn.device.type == "cpu"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bytes_become_the_numbers_from_zero_to_one(dtype):
    every_byte = torch.arange(256, dtype=torch.uint8)
    numbers = to_unit_interval(every_byte, dtype)
    assert numbers.dtype == dtype
    assert numbers[0].item() == 0.0
    assert numbers[255].item() == 1.0
    assert numbers[51].item() == pytest.approx(0.2, rel=1e-7)
    assert torch.equal((numbers * 255).round().to(torch.uint8), every_byte)
    assert torch.equal(every_byte, torch.arange(256, dtype=torch.uint8))


def test_to_unit_interval_makes_single_precision_where_nothing_is_said():
    assert to_unit_interval(torch.zeros(1, dtype=torch.uint8)).dtype == torch.float32


def test_pixels_are_rows_in_reading_order():
    images = np.array([[[0, 51], [102, 153]], [[204, 255], [255, 0]]], dtype=np.uint8)
    pixels = pixels_of(images)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, [[0, 0.2, 0.4, 0.6], [0.8, 1, 1, 0]], rtol=1e-6)


def test_pixels_do_not_depend_on_the_layout_in_memory(digits):
    fortran = np.asfortranarray(digits.images)
    np.testing.assert_array_equal(pixels_of(fortran), pixels_of(digits.images))
    assert fortran.dtype == np.uint8
    np.testing.assert_array_equal(fortran, digits.images)
