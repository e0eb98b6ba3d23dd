"""docs/traps.md is true: its examples run, and its numbers are those in experiments/traps.md."""

import doctest
import importlib
import re

import pytest

from helpers import REPOSITORY, shipped_values
from rhobeta.config.params import check_params, flatten

DOCUMENT = (REPOSITORY / "docs" / "traps.md").read_text()
MEASURED = (REPOSITORY / "experiments" / "traps.md").read_text()
TRAPS = range(1, 11)
# The numbers of the tenth are of single trainings.
MEASURED_TRAPS = range(1, 10)


def sections(text: str) -> dict[int, str]:
    """The text under each numbered heading."""
    parts = re.split(r"^## (\d+)\. ", text, flags=re.M)[1:]
    return {int(number): body for number, body in zip(parts[::2], parts[1::2], strict=True)}


EXPLAINED, RESULTS = sections(DOCUMENT), sections(MEASURED)


def test_traps_are_those_that_were_measured() -> None:
    assert list(EXPLAINED) == list(TRAPS)
    assert list(RESULTS) == list(MEASURED_TRAPS)
    for number in RESULTS:
        assert EXPLAINED[number].splitlines()[0] == RESULTS[number].splitlines()[0]


@pytest.mark.parametrize("number", TRAPS)
def test_trap_example_runs(number: int) -> None:
    # A fence right below an output would be taken as part of it.
    text = EXPLAINED[number].replace("```", "")
    example = doctest.DocTestParser().get_doctest(text, {}, f"trap {number}", "traps.md", 0)
    result = doctest.DocTestRunner().run(example)
    assert result.attempted >= 2
    assert result.failed == 0


@pytest.mark.parametrize("number", MEASURED_TRAPS)
def test_trap_damage_was_measured(number: int) -> None:
    damage = re.search(r"^\*\*Damage\.\*\* (.*?)\n\n", EXPLAINED[number], re.M | re.S)
    assert damage is not None
    # Counts of less than ten are no measurements.
    quoted = re.findall(r"\d+\.\d+|\b\d\d\b", damage[1])
    assert quoted
    tables = [line for line in MEASURED.splitlines() if line.startswith("|")]
    assert set(quoted) <= set(re.findall(r"\d+(?:\.\d+)?", "\n".join(tables))) | {
        "16",
        "0.01",
        "0.1",
    }


def test_trap_names_and_parameters_exist() -> None:
    named = set(re.findall(r"`([\w.]+)(?:: \w+)?`", DOCUMENT))
    known = flatten(check_params(shipped_values(), where="params.yaml"))
    names = [name for name in named if name.startswith("rhobeta.")]
    assert names
    for name in names:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
    for name in named - set(names):
        if name.partition(".")[0] in {key.partition(".")[0] for key in known}:
            assert name in known, name
