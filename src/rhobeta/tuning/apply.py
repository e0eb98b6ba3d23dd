"""`rhobeta tune apply`: the chosen values into params.yaml, and not another byte changed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.files import write_text
from rhobeta.params import Params, flatten
from rhobeta.presets import as_override
from rhobeta.tuning.results import Results


def apply_choice(results: Results, params: Params, path: Path) -> None:
    """Write the chosen trial's values into the parameter file, and print what has changed.

    Raises `RhobetaError` where nothing is chosen.
    """
    if results.chosen is None:
        raise RhobetaError(results.why_none)
    before = flatten(params)
    values = results.row(results.chosen).values
    changed = {name: value for name, value in values.items() if before[name] != value}
    if not changed:
        print(f"{path.name} has the values of trial {results.chosen} already")
        return
    write_text(path, with_replaced(path.read_text(encoding="utf-8"), changed, name=path.name))
    for name, value in changed.items():
        print(f"{name}: {_written(before[name])} -> {_written(value)}")
    print(f"of trial {results.chosen}; now run `dvc repro`")


def with_replaced(text: str, changes: Mapping[str, Any], *, name: str) -> str:
    """YAML `text` with some values replaced, by dotted path `section.key`.

    ruamel.yaml says where each value stands; only its characters change, and the spaces before a
    comment on its line, so that comments stay in their column. What comes out is read again and
    compared. Raises `RhobetaError` where a value cannot be replaced so, as one over several lines.
    """
    from ruamel.yaml import YAML

    lines = text.splitlines(keepends=True)
    places = YAML(typ="rt").load(text)
    for path, value in changes.items():
        section, _, key = path.partition(".")
        line, column = places[section].lc.value(key)
        lines[line] = _replaced(lines[line], column, _written(value))
    replaced = "".join(lines)
    plain = YAML(typ="safe")
    expected = plain.load(text)
    for path, value in changes.items():
        section, _, key = path.partition(".")
        expected[section][key] = value
    if plain.load(replaced) != expected:
        wanted = "\n".join(f"  {path}: {_written(value)}" for path, value in changes.items())
        raise RhobetaError(f"{name} could not be changed safely; set these by hand:\n{wanted}")
    return replaced


def _replaced(line: str, column: int, value: str) -> str:
    """`line` with the value that begins at `column` replaced; a comment keeps its column."""
    ending = line[len(line.rstrip("\r\n")) :]
    body = line.rstrip("\r\n")
    comment_at = _comment_column(body, column)
    if comment_at is None:
        return f"{body[:column]}{value}{ending}"
    before = f"{body[:column]}{value} "
    return f"{before.ljust(comment_at)}{body[comment_at:]}{ending}"


def _comment_column(body: str, start: int) -> int | None:
    quote = ""
    for index in range(start, len(body)):
        character = body[index]
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and body[index - 1] in " \t":
            return index
    return None


def _written(value: Any) -> str:
    import numpy as np

    if isinstance(value, float):
        return np.format_float_positional(value, trim="0")
    if isinstance(value, list):
        return f"[{', '.join(_written(item) for item in value)}]"
    return as_override(value)
