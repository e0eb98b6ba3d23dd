"""What `rhobeta summary` says of outputs beside the committed ones."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from helpers import git
from rhobeta.lineage.reproduction import describe_reproduction, largest_difference

METRICS = "reports/metrics.json"


def write(folder: Path, mse: float, *, code: str = "a") -> None:
    """A workspace of one stage whose output holds `mse`, and whose code has the digest `code`."""
    (folder / "reports").mkdir(exist_ok=True)
    (folder / METRICS).write_text(json.dumps({"test/mse": mse, "name": "x"}))
    (folder / "dvc.lock").write_text(
        f"""\
schema: '2.0'
stages:
  evaluate:
    cmd: rhobeta evaluate
    deps:
    - {{path: src/rhobeta/metrics, md5: {code}}}
    - {{path: models/autoencoder.safetensors, md5: m{mse}}}
    outs:
    - {{path: {METRICS}, md5: d{mse}}}
  train:
    cmd: rhobeta train
    outs:
    - {{path: models/autoencoder.safetensors, md5: m{mse}}}
"""
    )


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """A workspace whose outputs are committed."""
    write(tmp_path, 0.5)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message=start")
    return tmp_path


def test_equal_outputs_are_said_to_be_equal(committed: Path) -> None:
    assert describe_reproduction(committed) == ["every output equals the committed one"]


def test_other_outputs_are_named_with_their_difference(committed: Path) -> None:
    write(committed, 0.4)
    first, *files, last = describe_reproduction(committed)
    assert first == "2 of 2 outputs differ from the committed ones"
    assert f"  {METRICS}: numbers differ by at most 2.0e-01 of their size" in files
    assert "not on this machine" in next(line for line in files if "models/" in line)
    assert "another CPU" in last


def test_other_outputs_of_other_code_are_expected(committed: Path) -> None:
    write(committed, 0.4, code="b")
    last = describe_reproduction(committed)[-1]
    assert last == "That is to be expected: src/rhobeta/metrics changed since the commit."


def test_without_a_commit_nothing_is_said(tmp_path: Path) -> None:
    write(tmp_path, 0.5)
    assert describe_reproduction(tmp_path) == []


@pytest.mark.parametrize(
    ("before", "after", "suffix", "expected"),
    [
        (b"a,b\n1,2\n", b"a,b\n1,4\n", ".csv", 0.5),
        (b"a\n1\n", b"a\n1\n2\n", ".csv", None),
        (b'{"a": [1, {"b": 2}], "c": null}', b'{"a": [1, {"b": 1}], "c": null}', ".json", 0.5),
        (b"{}", b"{}", ".json", None),
        (b"[1", b"[1]", ".json", None),
        (b"<p>1", b"<p>2", ".html", None),
        (
            save({"w": np.array([4.0, 0.0])}),
            save({"w": np.array([4.0, 1e-3])}),
            ".safetensors",
            2.5e-4,
        ),
    ],
)
def test_largest_difference_is_relative(
    before: bytes, after: bytes, suffix: str, expected: float | None
) -> None:
    assert largest_difference(before, after, suffix) == expected
