"""`rhobeta tune apply`: the chosen values into params.yaml, and not another byte changed."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rhobeta.config.params import Params, flatten, with_values
from rhobeta.config.presets import as_override
from rhobeta.errors import RhobetaError
from rhobeta.tuning.choice import TrialRow
from rhobeta.tuning.study_results import StudyResults
from rhobeta.utils.files import atomic_write


def apply_choice(
    results: StudyResults, params: Params, path: Path, *, trial: int | None = None
) -> None:
    """Write the values of `trial`, else of the chosen one, into the parameter file at `path`.

    Prints what has changed since `params`, which are those of the file. Raises `RhobetaError`
    where nothing is chosen, the trial was not trained to the end, or its values do not fit the
    other parameters.
    """
    row = _row_to_apply(results, trial)
    before, values = flatten(params), row.values
    with_values(params, values, where=f"{path.name} with the values of trial {row.number}")
    changed = {name: value for name, value in values.items() if before[name] != value}
    if not changed:
        print(f"{path.name} has the values of trial {row.number} already")
        return
    _edit(path, changed)
    for name, value in changed.items():
        print(f"{name}: {_written(before[name])} -> {_written(value)}")
    print(f"of trial {row.number}; now run `dvc repro`")


def _row_to_apply(results: StudyResults, trial: int | None) -> TrialRow:
    number = results.chosen if trial is None else trial
    if number is None:
        raise RhobetaError(results.why_none)
    row = next((row for row in results.complete if row.number == number), None)
    if row is None:
        states = {row.number: row.state for row in results.rows}
        found = f"is {states[number]}" if number in states else "does not exist"
        raise RhobetaError(
            f"Trial {number} {found}; expected a complete one. reports/tuning/trials.csv, which"
            " `rhobeta tune show` writes, lists them."
        )
    if not row.keeps_bounds:
        print(f"note: trial {number} does not keep tune.constraints")
    return row


def _edit(path: Path, changes: Mapping[str, Any]) -> None:
    content = with_replaced(path.read_bytes().decode(), changes, name=path.name).encode()
    # A link stays one.
    with atomic_write(path.resolve()) as partial:
        partial.write_bytes(content)
        shutil.copymode(path, partial)


def with_replaced(text: str, changes: Mapping[str, Any], *, name: str) -> str:
    """YAML `text` with some values replaced, by dotted path `section.key`.

    ruamel.yaml says where each value stands; only its characters change. What comes out is read
    again and compared. Raises `RhobetaError` where a value cannot be replaced this way, such as one
    over several lines.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    plain = YAML(typ="safe")
    expected = plain.load(text)
    for path, value in changes.items():
        section, _, key = path.partition(".")
        expected[section][key] = value
    replaced = text
    # From the end, so that a change does not shift later places.
    places = sorted(((_place(text, path), path) for path in changes), reverse=True)
    for (start, end), path in places:
        replaced = replaced[:start] + _written(changes[path]) + replaced[end:]
    try:
        found = plain.load(replaced)
    except YAMLError:
        found = None
    one_line = not any("\n" in text[start:end] for (start, end), _ in places)
    if not one_line or found != expected:
        wanted = "\n".join(f"  {path}: {_written(value)}" for path, value in changes.items())
        raise RhobetaError(f"{name} could not be changed safely; set these by hand:\n{wanted}")
    return replaced


def _place(text: str, path: str) -> tuple[int, int]:
    """Where in `text` the value of `path` begins and ends, in characters."""
    from ruamel.yaml import YAML

    node = YAML().compose(text)
    for part in path.split(".", 1):
        node = next(value for key, value in node.value if key.value == part)
    start, end = node.start_mark.index, node.end_mark.index
    # An anchor or a tag stays.
    return end - len(re.sub(r"\A(?:[&!]\S*\s+)+", "", text[start:end])), end


def _written(value: Any) -> str:
    import numpy as np

    if isinstance(value, float):
        return np.format_float_positional(value, trim="0")
    if isinstance(value, list):
        return f"[{', '.join(_written(item) for item in value)}]"
    return as_override(value)
