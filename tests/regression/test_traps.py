"""docs/traps.md is true: its code runs, its tables and numbers are those that were measured."""

import ast
import importlib
import re
from typing import Any

import pytest

from helpers import REPOSITORY, shipped_values
from rhobeta.config.params import check_params, flatten

DOCUMENT = (REPOSITORY / "docs" / "traps.md").read_text()
MEASURED = (REPOSITORY / "experiments" / "traps.md").read_text()
TRAPS = range(1, 10)


def sections(text: str) -> dict[int, str]:
    """What stands under each numbered heading."""
    parts = re.split(r"^## (\d+)\. ", text, flags=re.M)[1:]
    return {int(number): body for number, body in zip(parts[::2], parts[1::2], strict=True)}


def title(section: str) -> str:
    return section.partition("\n")[0]


def table(section: str) -> list[str]:
    return [line for line in section.splitlines() if line.startswith("|")]


def blocks(section: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", section, flags=re.M | re.S)


def paragraph(section: str, label: str) -> str:
    return re.search(rf"^\*\*{label}\.\*\* (.*?)\n\n", section + "\n\n", re.M | re.S)[1]


EXPLAINED, RESULTS = sections(DOCUMENT), sections(MEASURED)


def test_the_nine_traps_have_the_names_of_the_first_line_and_of_the_results() -> None:
    names = [f"{number} {title(EXPLAINED[number])}" for number in EXPLAINED]
    assert list(EXPLAINED) == list(RESULTS) == list(TRAPS)
    assert DOCUMENT.splitlines()[2] == " · ".join(names)
    assert [title(part) for part in EXPLAINED.values()] == [title(p) for p in RESULTS.values()]


@pytest.mark.parametrize("number", TRAPS)
def test_its_code_runs_as_it_stands_and_states_a_number(number: int) -> None:
    code = blocks(EXPLAINED[number])
    assert len(code) == 1
    asserted = [node for node in ast.walk(ast.parse(code[0])) if isinstance(node, ast.Assert)]
    numbers = [
        leaf
        for node in asserted
        for leaf in ast.walk(node)
        if isinstance(leaf, ast.Constant) and type(leaf.value) in (int, float)
    ]
    assert numbers
    assert all(len(line) <= 100 for line in code[0].splitlines())
    namespace: dict[str, Any] = {}
    exec(compile(code[0], f"docs/traps.md, trap {number}", "exec"), namespace)


@pytest.mark.parametrize("number", TRAPS)
def test_its_tables_are_the_measured_ones(number: int) -> None:
    assert table(RESULTS[number])
    assert table(EXPLAINED[number]) == table(RESULTS[number])


@pytest.mark.parametrize("number", TRAPS)
def test_every_number_of_the_damage_is_in_its_tables(number: int) -> None:
    quoted = re.findall(r"\d+(?:\.\d+)?", paragraph(EXPLAINED[number], "Damage"))
    measured = re.findall(r"\d+(?:\.\d+)?", "\n".join(table(RESULTS[number])))
    assert quoted
    assert set(quoted) <= set(measured)


@pytest.mark.parametrize("number", TRAPS)
def test_what_the_project_does_instead_exists(number: int) -> None:
    named = re.findall(r"`([\w.]+)(?::[^`]*)?`", paragraph(EXPLAINED[number], "Here"))
    known = flatten(check_params(shipped_values(), where="params.yaml"))
    there = [name for name in named if name.startswith("rhobeta.") or name in known]
    assert there
    for name in named:
        section = name.partition(".")[0]
        if section == "rhobeta":
            _resolve(name)
        elif "." in name and section in {key.partition(".")[0] for key in known}:
            assert name in known, name


def _resolve(name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return
    raise AssertionError(name)
