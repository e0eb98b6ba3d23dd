"""Rows in memory and in a mapped file: the same numbers, and no pages left behind."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rhobeta.data.gathering import LoadedRows, MappedRows, rows_for_training
from rhobeta.data.rows import PIECE_ROWS, RowSource, file_map
from rhobeta.data.scaling import InputScale, input_scale, range_of, statistics_of
from rhobeta.errors import RhobetaError

CPU = torch.device("cpu")
ROWS = 2 * PIECE_ROWS + 100


def drawn(dtype: str, rows: int = ROWS, features: int = 3) -> NDArray[Any]:
    values = np.random.default_rng(0).normal(5, 2, (rows, features))
    return np.clip(values * 20, 0, 255).astype(dtype) if dtype == "uint8" else values.astype(dtype)


def mapped(values: NDArray[Any], folder: Path, mode: Any = "r") -> NDArray[Any]:
    np.save(folder / "rows.npy", values)
    found: NDArray[Any] = np.load(folder / "rows.npy", mmap_mode=mode)
    return found


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_mapped_rows_are_those_in_memory(dtype: str, scaled: bool, tmp_path: Path) -> None:
    values = drawn(dtype)
    sources = [RowSource(values), RowSource(mapped(values, tmp_path))]
    found = []
    for source in sources:
        mean = statistics_of(source).mean
        scale = input_scale(source, mean, center=scaled, scale=scaled)
        found.append(rows_for_training(source, scale, CPU))
    # A third: loaded from the file, since it fits.
    found.append(rows_for_training(sources[1], scale, CPU, memory=4 * values.size))
    assert [type(rows) for rows in found] == [LoadedRows, MappedRows, LoadedRows]
    orders = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0)).split(1500)
    gathered = [torch.cat(list(rows.gather(orders))) for rows in found]
    pieces = [torch.cat(list(rows.pieces(7, ROWS, 500))) for rows in found]
    for other in (1, 2):
        assert torch.equal(gathered[0], gathered[other])
        assert torch.equal(pieces[0], pieces[other])
    assert len(gathered[0]) == ROWS
    if scaled:
        assert gathered[0].mean().abs() < 1e-5
        assert gathered[0].square().mean() == pytest.approx(1, abs=1e-4)


def test_rows_are_loaded_up_to_the_bound(tmp_path: Path) -> None:
    """As they lie, or as float32 where they are scaled."""
    source = RowSource(mapped(drawn("float16"), tmp_path))
    for scale, size in ((InputScale(), 2), (InputScale(scale=2.0), 4)):
        needed = size * ROWS * 3
        assert isinstance(rows_for_training(source, scale, CPU, needed), LoadedRows)
        assert isinstance(rows_for_training(source, scale, CPU, needed - 1), MappedRows)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_reading_a_map_leaves_no_pages_behind(tmp_path: Path) -> None:
    values = np.zeros((32_768, 512), np.float16)
    rows = MappedRows(RowSource(mapped(values, tmp_path)), InputScale(), CPU)
    before = _mapped_mebibytes()
    for _ in rows.gather(torch.randperm(len(rows)).split(8192)):
        pass
    for _ in rows.pieces(0, len(rows), 8192):
        pass
    assert _mapped_mebibytes() - before < values.nbytes / 2**20 / 2


def _mapped_mebibytes() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("RssFile:")]
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("replaced", [False, True])
def test_rows_are_taken_from_the_file_that_was_mapped(replaced: bool, tmp_path: Path) -> None:
    """Also of a view, and where its name stands for another file by now."""
    values, chosen = drawn("float16", features=5), np.array([7, 0, 7, 500, 3])
    views = [values, values[9:], values[::2], values[:, 1:4], values[:, ::2]]
    found = mapped(values, tmp_path)
    if replaced:
        np.save(tmp_path / "other.npy", values + 1)
        (tmp_path / "other.npy").replace(tmp_path / "rows.npy")
    of_map = [found, found[9:], found[::2], found[:, 1:4], found[:, ::2]]
    for view, other in zip(views, of_map, strict=True):
        assert np.array_equal(RowSource(other).take(chosen), view[chosen])


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere rows are read through the map")
def test_a_file_that_became_shorter_is_refused(tmp_path: Path) -> None:
    source = RowSource(mapped(drawn("float16"), tmp_path))
    os.truncate(tmp_path / "rows.npy", 4096)
    with pytest.raises(RhobetaError, match="became shorter"):
        source.take(np.array([ROWS - 1, 0]))


def test_views_are_maps_and_copies_on_write_are_not(tmp_path: Path) -> None:
    values = mapped(drawn("float32"), tmp_path)
    assert file_map(values) is file_map(np.asarray(values[100:])) is not None
    assert file_map(mapped(drawn("float32"), tmp_path, "c")) is None
    assert file_map(drawn("float32")) is None
    assert file_map(values[[0, 1]]) is None


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32", "float64"])
def test_statistics_are_those_of_numpy(dtype: str) -> None:
    values = drawn(dtype)
    source, exact = RowSource(values), values.astype(np.float64) / (255 if dtype == "uint8" else 1)
    found = statistics_of(source)
    np.testing.assert_allclose(found.mean, exact.mean(0), rtol=1e-13)
    assert (found.low, found.high) == (exact.min(), exact.max())
    assert range_of(source) == ((0, 1) if dtype == "uint8" else (exact.min(), exact.max()))
    scale = input_scale(source, found.mean, center=True, scale=True)
    assert scale.scale == pytest.approx(np.sqrt(exact.var(0).mean()), rel=1e-12)


def test_mean_of_bytes_is_exact(digits: Any) -> None:
    """As before rows were summed in pieces: a topk code starts from it."""
    found = statistics_of(RowSource(digits.values)).mean
    assert np.array_equal(found, digits.values.mean(0, dtype=np.float64).reshape(-1) / 255)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_rows_without_variance_are_not_divided(value: float) -> None:
    source = RowSource(np.full((5000, 3), value, np.float32))
    found = statistics_of(source)
    assert input_scale(source, found.mean, center=True, scale=True).scale is None
