"""The order in which images are trained on, and bytes as numbers."""

import numpy as np
import pytest
import torch

from rhobeta.data.batches import (
    ShuffledChunks,
    permutation,
    pixels_of,
    rank_slice,
    to_unit_interval,
)
from rhobeta.data.gathering import LoadedRows


def numbered(count):
    """Images that each hold their own number, as two bytes."""
    numbers = torch.arange(count)
    return torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8)


def chunks_of(count, *, batch_size=4, seed=0, batches_per_chunk=3, rank=0, world_size=1):
    return ShuffledChunks(
        LoadedRows(numbered(count)),
        batch_size=batch_size,
        seed=seed,
        batches_per_chunk=batches_per_chunk,
        rank=rank,
        world_size=world_size,
    )


def order(chunks, epoch=0):
    """The numbers of an epoch's images as they come."""
    chunks.epoch = epoch
    return [number for chunk in chunks for number in numbers(chunk.images)]


def numbers(images):
    return [256 * int(high) + int(low) for high, low in images]


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
    found = list(chunks)
    assert [len(chunk.images) for chunk in found] == lengths
    assert [sum(chunk.sizes) for chunk in found] == lengths
    assert all(chunk.rows == chunk.sizes for chunk in found)
    assert all(size == 4 for chunk in found for size in chunk.sizes[:-1])
    assert len(chunks) == len(lengths)
    assert all(chunk.images.dtype == torch.uint8 for chunk in found)


@pytest.mark.parametrize(("batch_size", "batches_per_chunk"), [(1, 1), (7, 1), (5, 4), (100, 10)])
def test_chunk_size_does_not_change_the_order(batch_size, batches_per_chunk):
    cut = chunks_of(100, batch_size=batch_size, batches_per_chunk=batches_per_chunk)
    assert order(cut, 3) == order(chunks_of(100), 3)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [0, 1, 2, 4, 7, 256])
def test_shares_follow_each_other_and_differ_by_one_at_most(size, world_size):
    shares = [rank_slice(size, rank, world_size) for rank in range(world_size)]
    assert [thing for share in shares for thing in share] == list(range(size))
    lengths = [len(share) for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_processes_share_every_mini_batch_of_the_one_permutation():
    """11 images in mini-batches of 4, 4 and 3, over three processes."""
    whole = list(chunks_of(11, batches_per_chunk=2))
    parts = [list(chunks_of(11, batches_per_chunk=2, rank=r, world_size=3)) for r in range(3)]
    for number, chunk in enumerate(whole):
        batches = torch.split(chunk.images, list(chunk.sizes))
        shares = [torch.split(p[number].images, list(p[number].rows)) for p in parts]
        for place, batch in enumerate(batches):
            assert numbers(torch.cat([share[place] for share in shares])) == numbers(batch)
        assert all(p[number].sizes == chunk.sizes for p in parts)
    assert [p[0].rows for p in parts] == [(1, 1), (1, 1), (2, 2)]


def test_process_without_a_share_is_given_the_first_image():
    """A last mini-batch of one image, over two processes: the second one's."""
    first, second = (next(iter(chunks_of(5, rank=r, world_size=2))) for r in range(2))
    assert first.rows == (2, 1)
    assert second.rows == (2, 1)
    assert first.sizes == second.sizes == (4, 1)
    assert numbers(first.images)[-1] == numbers(second.images)[-1] == order(chunks_of(5))[-1]


@pytest.mark.parametrize("given_out", range(9))
def test_restored_state_skips_chunks_once(given_out):
    whole = order(chunks_of(100, batches_per_chunk=3), epoch=4)
    started = chunks_of(100, batches_per_chunk=3)
    started.epoch = 4
    epoch = iter(started)
    for _ in range(given_out):
        next(epoch)
    state = started.state_dict()
    going_on = chunks_of(100, batches_per_chunk=3)
    going_on.load_state_dict(state)
    assert order(going_on, epoch=4) == whole[given_out * 12 :]
    assert order(going_on, epoch=4) == whole


def test_state_after_an_epoch_is_the_start_of_the_next():
    chunks = chunks_of(100)
    order(chunks)
    assert chunks.state_dict() == {"done": 0}


def test_epoch_can_be_repeated():
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


def test_epoch_is_shuffled_evenly():
    # The mean place of each image over many epochs; its standard error is 99.5 / sqrt(3) / 20.
    places = torch.stack(
        [torch.argsort(permutation(200, seed=0, epoch=epoch)) for epoch in range(400)]
    )
    deviation = (places.double().mean(dim=0) - 99.5).abs().max().item()
    assert deviation < 5 * 99.5 / 3**0.5 / 20


def test_permutation_is_of_int64_on_the_cpu():
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


def test_to_unit_interval_gives_float32_by_default():
    assert to_unit_interval(torch.zeros(1, dtype=torch.uint8)).dtype == torch.float32


def test_pixels_are_rows_in_reading_order():
    images = np.array([[[0, 51], [102, 153]], [[204, 255], [255, 0]]], dtype=np.uint8)
    pixels = pixels_of(images)
    assert pixels.dtype == np.float32
    np.testing.assert_allclose(pixels, [[0, 0.2, 0.4, 0.6], [0.8, 1, 1, 0]], rtol=1e-6)


def test_pixels_do_not_depend_on_the_layout_in_memory(digits):
    fortran = np.asfortranarray(digits.values)
    np.testing.assert_array_equal(pixels_of(fortran), pixels_of(digits.values))
    assert fortran.dtype == np.uint8
    np.testing.assert_array_equal(fortran, digits.values)
