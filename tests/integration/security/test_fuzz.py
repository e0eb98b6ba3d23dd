"""Thousands of damaged inputs for every reader: refused, or read right, in little memory."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("fuzz_child.py")

# A third of these in `make test`, three times as many in `make test-all`; a parameter file takes
# longest.
INPUTS = {
    "idx": 3000,
    "idx.gz": 3000,
    "npz": 3000,
    "values": 3000,
    "preset": 1000,
    "params": 500,
    "model": 3000,
    "manifest": 3000,
    "split": 3000,
    "evaluation": 3000,
    "raw": 3000,
    "package": 3000,
    "images.npy": 3000,
    "images.npz": 3000,
    "picture": 3000,
}


def fuzzed(counts: dict[str, int], seed: str, folder: Path) -> dict[str, dict]:
    """What became of each reader's inputs."""
    orders = [f"{name}:0:{count}" for name, count in counts.items()]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", CHILD, folder, seed, *orders],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    position = folder / "position"
    where = position.read_text() if position.exists() else "the beginning"
    assert done.returncode == 0, f"{where}\n{done.stdout}\n{done.stderr}"
    return {line["reader"]: line for line in map(json.loads, done.stdout.splitlines())}


def assert_right(counts: dict[str, int], outcomes: dict[str, dict]) -> None:
    assert outcomes.keys() == counts.keys()
    for name, outcome in outcomes.items():
        assert outcome["read"] + outcome["refused"] == counts[name], outcome
        # Some must be read, or the check of what is read says nothing.
        assert outcome["read"] >= counts[name] / 100, outcome
        assert outcome["refused"] >= counts[name] / 2, outcome
        assert outcome["grown_mib"] < 128, outcome


def test_damaged_inputs_are_refused_or_read_right(tmp_path: Path) -> None:
    counts = {name: count // 3 for name, count in INPUTS.items()}
    assert_right(counts, fuzzed(counts, "fast", tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", INPUTS)
def test_nine_times_as_many_are_refused_or_read_right(tmp_path: Path, name: str) -> None:
    counts = {name: 3 * INPUTS[name]}
    assert_right(counts, fuzzed(counts, "slow", tmp_path))


def test_an_input_can_be_made_again_by_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(CHILD.parent)
    from fuzz_readers import readers

    made = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        folder.mkdir()
        make = readers(folder)["model"]().make
        made.append([make(random.Random(f"model 1 {number}")) for number in range(50)])
    assert made[0] == made[1]
    assert len(set(made[0])) > 40
