"""Whether the outputs in the workspace are, byte for byte, those that the commit names."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.lineage.repository import Lock, Repository

_STAGES = ("download", "preprocess", "train", "evaluate", "visualize")


def describe_reproduction(workspace: Path) -> list[str]:
    """Lines that compare `dvc.lock` with that of the commit; none where the commit has none.

    They name each output that differs, and by how much its numbers do.
    """
    repository = Repository(workspace)
    committed, here = repository.lock("HEAD"), repository.lock()
    expected, found = _outputs(committed), _outputs(here)
    if not expected:
        return []
    if expected == found:
        return ["every output equals the committed one"]
    differ = [path for path in {**expected, **found} if expected.get(path) != found.get(path)]
    lines = [f"{len(differ)} of {len(expected)} outputs differ from the committed ones"]
    for path in differ:
        before = _committed(repository, path, expected.get(path))
        lines.append(f"  {path}: {_by_how_much(before, workspace / path)}")
    changed = sorted(_changed_inputs(committed, here))
    if changed:
        lines.append(f"That is to be expected: {', '.join(changed)} changed since the commit.")
    else:
        lines.append(
            "Code, data and parameters are those of the commit: another CPU, other versions of"
            " libraries or runtime.cpu native made the difference. `rhobeta doctor` says more, as"
            " does docs/reproducibility.md."
        )
    return lines


def largest_difference(before: bytes, after: bytes, suffix: str) -> float | None:
    """The largest relative difference of the numbers in two files of one kind.

    For .json and .csv that is |a - b| / max(|a|, |b|) of two numbers a and b at the same place,
    for the arrays of .safetensors max |a - b| / max |a|. None where there is no such number: for
    other kinds, and where the files hold other names or another amount of numbers.
    """
    try:
        pairs = (dict(_numbers(content, suffix)) for content in (before, after))
        a, b = pairs
    except (ValueError, TypeError, KeyError):
        return None
    if not a or a.keys() != b.keys() or any(a[name].shape != b[name].shape for name in a):
        return None
    return max(_relative(a[name], b[name]) for name in a)


def _relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if np.array_equal(a, b, equal_nan=True):
        return 0.0
    scale = max(float(np.abs(a).max()), float(np.abs(b).max()))
    return float(np.abs(a - b).max()) / scale


def _numbers(content: bytes, suffix: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """The numbers of a file, by their place."""
    if suffix == ".safetensors":
        from safetensors.numpy import load

        for name, values in load(content).items():
            yield name, values.astype(np.float64)
    elif suffix == ".csv":
        rows = csv.reader(io.StringIO(content.decode()))
        yield from _leaves([[_as_number(cell) for cell in row] for row in rows], "")
    elif suffix == ".json":
        yield from _leaves(json.loads(content), "")


def _leaves(value: Any, place: str) -> Iterator[tuple[str, NDArray[np.float64]]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from _leaves(inner, f"{place}/{name}")
    elif isinstance(value, int | float):
        yield place, np.asarray(value, np.float64)


def _as_number(cell: str) -> float | str:
    try:
        return float(cell)
    except ValueError:
        return cell


def _by_how_much(before: bytes | None, after: Path) -> str:
    if before is None:
        return "other bytes; the committed ones are not on this machine (`dvc pull` brings them)"
    if not after.is_file():
        return "other bytes"
    largest = largest_difference(before, after.read_bytes(), after.suffix)
    if largest is None:
        return "other bytes"
    return f"numbers differ by at most {largest:.1e} of their size"


def _committed(repository: Repository, path: str, md5: str | None) -> bytes | None:
    tracked = repository.file("HEAD", path)
    cached = None if tracked is not None else repository.cached(md5)
    return tracked if cached is None else cached.read_bytes()


def _outputs(lock: Lock) -> dict[str, str]:
    return {path: md5 for stage in _STAGES for path, md5 in lock.outputs(stage).items()}


def _changed_inputs(committed: Lock, here: Lock) -> set[str]:
    """What stages read, but for each other's outputs, and parameters that differ."""
    outputs = {*_outputs(committed), *_outputs(here)}
    changed: set[str] = set()
    for stage in _STAGES:
        sides = [lock.inputs(stage) | lock.parameters(stage) for lock in (committed, here)]
        names = {*sides[0], *sides[1]}
        changed |= {name for name in names if sides[0].get(name) != sides[1].get(name)}
    inside = tuple(f"{path}/" for path in outputs)
    return {name for name in changed if name not in outputs and not name.startswith(inside)}
