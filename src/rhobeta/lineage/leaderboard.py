"""`rhobeta runs`: the trainings of the store as one table, the best first."""

import csv
import io
import json
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rhobeta.errors import RhobetaError, did_you_mean
from rhobeta.lineage.comparison import direction_of, figure
from rhobeta.lineage.project import Project
from rhobeta.lineage.runs import RunInfo
from rhobeta.tracking.store import open_store_to_read

SHOWN = 20
"""Rows of the table, unless more are asked for."""

_SORT = "test/mse"
_METRICS = ("test/mse", "test/fvu", "test/l0_at_0.1", "test/gini", "test/probe")
_NAME_WIDTH = 40
_SIMPLE = re.compile(r"([\w./@-]+)\s*(<=|>=|!=|==|=|<|>)\s*(.+)")
# `metrics.mse`, `params.x`, ... are MLflow's.
_MLFLOW_NAME = re.compile(r"(metrics?|params?|parameters?|tags?|attributes?|attr|run)\.")
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
}

Row = Mapping[str, str | float]
"""A run: what identifies it, its parameters by dotted path, and its metrics."""


@dataclass(frozen=True)
class Condition:
    """`name < value`, or another comparison; as numbers if both are, else as text.

    >>> condition = Condition.parse("test/mse<0.02")
    >>> condition.holds({"test/mse": 0.013}), condition.holds({"test/mse": 0.03})
    (True, False)
    """

    name: str
    comparison: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Condition | None":
        """Read a condition; None where `text` has another form, as MLflow's conditions have."""
        match = _SIMPLE.fullmatch(text.strip())
        if match is None or _MLFLOW_NAME.match(match[1]):
            return None
        return cls(match[1], match[2], match[3].strip().strip("'\""))

    def holds(self, row: Row) -> bool:
        """Whether a run has this; a run without the name does not."""
        found: Any = row.get(self.name)
        if found is None:
            return False
        number, limit = _number(found), _number(self.value)
        compare = _COMPARISONS[self.comparison]
        if number is None or limit is None:
            return compare(str(found), self.value)
        return compare(number, limit)

    def require_number(self, rows: Sequence[Row]) -> None:
        """Raise `RhobetaError` if a number is compared with a word by order, as in `mse < abc`."""
        found = [_number(row[self.name]) for row in rows if self.name in row]
        if not found or None in found or self.comparison[0] not in "<>":
            return
        if _number(self.value) is None:
            raise RhobetaError(
                f"The filter {self.name} {self.comparison} {self.value}: found {self.value!r},"
                " expected a number."
            )


def list_runs(project: Project, filters: Sequence[str], sort: str | None) -> list[Row]:
    """The trainings that keep all `filters`, in the order of `sort`, the best first.

    A filter is `NAME<VALUE` with a parameter, metric or `experiment`, several joined by `and`; or a
    filter of MLflow. `sort` is such a name too (default: the test MSE, or the newest first where no
    run has one). A metric without a better direction, and a parameter, is sorted from its lowest
    value; runs without it come last. Raises `RhobetaError` where there is no store, a name is
    unknown, a number is compared with a word, or MLflow refuses its filter.
    """
    open_store_to_read(project.paths)
    conditions, of_mlflow = _split(filters)
    rows = [_row(run) for run in project.runs.all_trainings(" and ".join(of_mlflow))]
    names = {name for row in rows for name in row}
    for condition in conditions if rows else ():
        named = Condition(_full(condition.name, names), condition.comparison, condition.value)
        named.require_number(rows)
        rows = [row for row in rows if named.holds(row)]
    if sort is None and not any(_SORT in row for row in rows):
        return rows
    return _sorted(rows, _full(sort or _SORT, names) if rows else "")


def as_table(rows: Sequence[Row], more: Collection[str]) -> str:
    """Aligned columns: run, name, the main metrics, and `more` names as they are asked for."""
    names = {name for row in rows for name in row}
    columns = ["run", "name"]
    columns += ["status"] if any(row["status"] != "FINISHED" for row in rows) else []
    columns += [_full(name, names) for name in more]
    columns += [name for name in _METRICS if name in names]
    lines = [list(dict.fromkeys(columns))]
    lines += [[_cell(name, row) for name in lines[0]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            cell.rjust(width) if name in _METRICS else cell.ljust(width)
            for name, cell, width in zip(lines[0], line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "-" * max(map(len, text)), *text[1:]])


def as_csv(rows: Sequence[Row]) -> str:
    """All names of all rows, a column each."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, dict.fromkeys(name for row in rows for name in row), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(rows: Sequence[Row]) -> str:
    """A list of objects; a number that is not finite is null."""
    finite = [
        {n: None if isinstance(v, float) and not math.isfinite(v) else v for n, v in row.items()}
        for row in rows
    ]
    return json.dumps(finite, indent=2)


def notes_on(rows: Sequence[Row], found: int) -> list[str]:
    """What a reader of the table must know: how many runs are left out, and of what data."""
    notes = []
    if found > len(rows):
        notes.append(f"{len(rows)} of {found} runs; --limit N shows more, --csv all")
    tested = {row["test_data"] for row in rows} - {""}
    if len(tested) > 1:
        notes.append(
            f"these were measured on {len(tested)} different test splits, whose numbers cannot be"
            " compared; --filter test_data=SHA256 keeps one"
        )
    return notes


def _split(filters: Sequence[str]) -> tuple[list[Condition], list[str]]:
    conditions: list[Condition] = []
    of_mlflow = []
    for text in filters:
        parts = [Condition.parse(part) for part in re.split(r"\s+and\s+", text, flags=re.I)]
        if None in parts:
            of_mlflow.append(text)
        else:
            conditions += [part for part in parts if part is not None]
    return conditions, of_mlflow


def _row(run: RunInfo) -> Row:
    return {
        "run": run.id,
        "name": run.name,
        "status": run.status,
        "started": run.started,
        "experiment": run.dvc_experiment or "",
        "commit": run.commit or "",
        "model": run.model_sha256 or "",
        "data": run.data_sha256 or "",
        "test_data": run.splits.get("evaluation", ""),
        **run.parameters,
        **run.metrics,
    }


def _full(name: str, names: Collection[str]) -> str:
    """The name itself, that of the test metric, or the one name that ends in it."""
    for candidate in (name, f"test/{name}"):
        if candidate in names:
            return candidate
    ending = sorted(known for known in names if known.endswith((f"/{name}", f".{name}")))
    if len(ending) == 1:
        return ending[0]
    found = f"{name!r} stands for {', '.join(ending)}" if ending else f"No run has {name!r}"
    raise RhobetaError(
        f"{found}{did_you_mean(name, names) or '.'}\nExpected a parameter such as penalty.rho, a"
        " metric such as test/mse, or run, name, status, started, experiment, commit, model, data."
    )


def _sorted(rows: list[Row], name: str) -> list[Row]:
    having = [row for row in rows if _is_value(row.get(name))]
    downwards = name == "started" or direction_of(name) > 0
    numbers = [_number(row[name]) for row in having]
    if None in numbers:
        having.sort(key=lambda row: str(row[name]), reverse=downwards)
    else:
        having.sort(key=lambda row: float(row[name]), reverse=downwards)
    return having + [row for row in rows if not _is_value(row.get(name))]


def _is_value(value: str | float | None) -> bool:
    return value not in (None, "") and value == value


def _number(value: str | float) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _cell(name: str, row: Row) -> str:
    value = row.get(name, "-")
    if isinstance(value, float):
        return figure(value)
    if name in ("run", "commit", "model", "data", "test_data"):
        return value[:8]
    return value if len(value) <= _NAME_WIDTH else f"{value[: _NAME_WIDTH - 3]}..."
