"""The documented promises name tests that there are."""

import re

import pytest

from helpers import REPOSITORY

TEXT = (REPOSITORY / "docs" / "guarantees.md").read_text()
ROWS = [line for line in TEXT.splitlines() if line.startswith("|") and "tests/" in line]


def test_every_promise_names_what_holds_it() -> None:
    promises = [
        line for line in TEXT.splitlines() if line.startswith("| **") or re.match(r"\| [A-Z]", line)
    ]
    assert len(promises) > 30
    assert [line for line in promises if not re.search(r"tests/|`test_\w+\.py`|bench", line)] == []


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:tests|benchmarks)/[\w/]+\.py)", TEXT)))
)
def test_a_named_file_is_there(path: str) -> None:
    assert (REPOSITORY / path).is_file()


@pytest.mark.parametrize("row", ROWS)
def test_a_named_test_is_there(row: str) -> None:
    files = re.findall(r"`(tests/[\w/]+\.py)", row)
    sources = "".join((REPOSITORY / file).read_text() for file in files)
    tests = re.findall(r"def (test_\w+)", sources)
    for pattern in re.findall(r"`\.\.\.(\w+?)(?:\.\.\.)?`", row):
        assert any(pattern in name for name in tests), pattern
