"""What is wrong with a parameter file, in words.

One line a fault: the key's full path, what was found, what is allowed in pydantic's words, and the
parameter's docstring; for an unknown key, the nearest known one.
"""

import datetime
import re
import reprlib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from rhobeta.config.renamed import PARAMETERS, REMOVED
from rhobeta.errors import did_you_mean

_MOST_FAULTS = 50


def describe_faults(error: ValidationError, model: type[BaseModel], values: Any) -> list[str]:
    """Describe the faults of `error`, raised in validating `values`, in the file's order.

    Fifty are described; a last line counts the others.
    """
    known = dict(_keys(model))
    lines: dict[str, str] = {}
    for fault in error.errors():
        path = _path(fault, values)
        if path in lines:
            # A union, such as `int | "auto"`, has a fault for each of its types.
            allowed = f", allowed: {_in_short(fault)} or "
            lines[path] = lines[path].replace(", allowed: ", allowed, 1)
        else:
            lines[path] = _line(fault, path, known)
    described = list(lines.values())
    if len(described) > _MOST_FAULTS:
        described[_MOST_FAULTS:] = [f"and {len(described) - _MOST_FAULTS} more"]
    return described


def yaml_fault(error: Exception, text: str) -> str:
    """What the YAML parser's `error` says of `text`: the fault and its line, without its advice."""
    if re.search(r"^(<{7} |={7}$|>{7} )", text, re.MULTILINE):
        return "It holds the marks of a merge conflict, such as <<<<<<<: resolve it in git."
    # The last mark is where the fault was found; the first where the parser began.
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("; use sys.")[0]
    if isinstance(error, (LookupError, TypeError)):
        problem = "a value does not fit its tag, such as !!int, or a key is no text"
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def _line(fault: Any, path: str, known: dict[str, str]) -> str:
    kind = fault["type"]
    if kind == "value_error":
        # The validator of a section names its key first, that of a key begins with a colon.
        reason = str(fault["ctx"]["error"])
        return path + ("." if path and not reason.startswith(":") else "") + reason
    if kind == "extra_forbidden":
        return f"{path}: unknown key{_nearest(path, known)}"
    if kind == "invalid_key":
        return f"{path or 'the file'}: a key is not text, expected the name of a parameter"
    if kind == "missing":
        return f"{path}: missing, allowed: {known.get(path, '')}"
    parameter = known.get(".".join(path.split(".")[:2]), "")
    allowed = parameter if kind == "model_type" else f"{_in_short(fault)}. {parameter}".strip()
    return f"{path or 'the file'}: found {_found(fault['input'])}, allowed: {allowed}"


def _in_short(fault: Any) -> str:
    return str(fault["msg"]).removeprefix("Input should be ")


def _keys(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted paths of the model, of its sections and parameters, each with what it should be."""
    yield path, f"a section with {', '.join(model.model_fields)}"
    for name, field in model.model_fields.items():
        below = f"{path}.{name}".lstrip(".")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, below)
        else:
            yield below, field.description or ""


def _path(fault: Any, values: Any) -> str:
    """The fault's dotted path, without the type of a union that pydantic appends."""
    parts = []
    for part in fault["loc"]:
        listed = isinstance(values, list) and isinstance(part, int)
        inside = listed or (isinstance(values, dict) and part in values)
        if not (inside or fault["type"] == "missing"):
            break
        parts.append(str(part))
        values = values[part] if inside else None
    return ".".join(parts)


def _nearest(path: str, known: dict[str, str]) -> str:
    if path in PARAMETERS:
        return f", which is {PARAMETERS[path]} since version 0.2"
    if path in REMOVED:
        return f", which is gone: {REMOVED[path]}. Remove the line"
    section, _, name = path.rpartition(".")
    split = [key.rpartition(".") for key in known if key]
    siblings = [last for above, _, last in split if above == section]
    elsewhere = [f"{above}.{last}" for above, _, last in split if above and last == name]
    if near := did_you_mean(name, siblings):
        return near
    if elsewhere:
        return f". Did you mean {elsewhere[0]}?"
    return f", allowed: {', '.join(siblings)}" if siblings else ""


def _found(value: Any) -> str:
    names = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return names[value]
    if isinstance(value, datetime.date):
        return f"{value} (a date; in quotes it is text)"
    if isinstance(value, dict):
        return "a section" if value else "an empty section"
    try:
        return _SHORT.repr(value) + (" (text)" if isinstance(value, str) else "")
    except ValueError:
        # Python refuses to print thousands of digits.
        return "a number that is too long to print"


_SHORT = reprlib.Repr()
_SHORT.maxlist = 20
_SHORT.maxstring = _SHORT.maxother = 200
