"""What is wrong with a parameter file, in words.

One line a fault: the key's full path, what was found, what is allowed, and the nearest known key.
"""

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

_MOST_FAULTS = 50

_TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "a section",
}


def describe_faults(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Describe the faults of `error`, raised in validating `model`, in the file's order.

    Fifty are described; a last line counts the others.
    """
    schema = model.model_json_schema()
    faults = error.errors()
    lines: dict[str, None] = {}
    for number, fault in enumerate(faults):
        if len(lines) == _MOST_FAULTS:
            lines[f"and {len(faults) - number} more"] = None
            break
        lines[_describe(fault, schema)] = None
    return list(lines)


def known_keys(schema: Mapping[str, Any]) -> list[str]:
    """Dotted paths of all sections and parameters that `schema` knows."""
    return list(_walk(schema, schema, ""))


def _describe(fault: Any, schema: Mapping[str, Any]) -> str:
    path = _known_path(fault["loc"], schema)
    dotted = ".".join(str(part) for part in path)
    if fault["type"] == "value_error":
        # A section's fault begins with the key's name, a key's own with a colon.
        reason = str(fault["ctx"]["error"])
        between = "." if dotted and not reason.startswith(":") else ""
        return f"{dotted}{between}{reason}"
    if fault["type"] == "extra_forbidden":
        dotted = ".".join(str(part) for part in fault["loc"])
        *above, _ = fault["loc"]
        here = _resolve(_lookup(above, schema), schema).get("properties", {})
        beside = [".".join([*map(str, above), name]) for name in here]
        return f"{dotted}: unknown key{_did_you_mean(dotted, [*known_keys(schema), *beside])}"
    allowed = _allowed(_lookup(path, schema), schema)
    if fault["type"] == "missing":
        return f"{dotted}: missing, allowed: {allowed}"
    found = "an empty file" if fault["input"] is None and not dotted else _found(fault["input"])
    return f"{dotted or 'the file'}: found {found}, allowed: {allowed}"


def _known_path(location: tuple[Any, ...], schema: Mapping[str, Any]) -> list[Any]:
    # For unions Pydantic appends the branch that it tried; stop at the parameter itself.
    path: list[Any] = []
    for part in location:
        node = _resolve(_lookup(path, schema), schema)
        is_item = isinstance(part, int)
        if not is_item and _inside(node, part) is None and path:
            break
        if is_item:
            break
        path.append(part)
    return path


def _lookup(path: list[Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    node = schema
    for part in path:
        node = _inside(_resolve(node, schema), part) or {}
    return node


def _inside(node: Mapping[str, Any], part: str) -> Any:
    """What a section knows of the key `part`: one of its own, or any where keys are free."""
    free = node.get("additionalProperties")
    return node.get("properties", {}).get(part, free if isinstance(free, dict) else None)


def _resolve(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = node.get("$ref")
    return schema["$defs"][reference.rsplit("/", 1)[1]] if reference else node


def _walk(node: Mapping[str, Any], schema: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, child in _resolve(node, schema).get("properties", {}).items():
        yield f"{prefix}{name}"
        yield from _walk(child, schema, f"{prefix}{name}.")


def _did_you_mean(key: str, known: list[str]) -> str:
    # A misspelt name beside its siblings first; then the right name in the wrong section.
    section, _, name = key.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == section}
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if near:
        return f". Did you mean {siblings[near[0]]}?"
    if elsewhere:
        return f". Did you mean {elsewhere[0]}?"
    return f", allowed here: {', '.join(siblings)}"


def _found(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"{_SHORT.repr(value)} (text)"
    if isinstance(value, dict):
        return "a section" if value else "an empty section"
    return _SHORT.repr(value)


class _Short(reprlib.Repr):
    """`repr`, cut short: what is found in a file may be of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = 20
        self.maxstring = self.maxother = 200

    def repr_int(self, x: int, level: int) -> str:
        """A whole number, or how many bits it has: Python refuses to print thousands of digits."""
        return (
            repr(x) if x.bit_length() <= _MOST_BITS else f"a whole number of {x.bit_length()} bits"
        )


_MOST_BITS = 128
_SHORT = _Short()


def _allowed(node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    node = _resolve(node, schema)
    if "anyOf" in node:
        return " or ".join(_allowed(branch, schema) for branch in node["anyOf"])
    if "enum" in node:
        return ", ".join(str(value) for value in node["enum"])
    if "const" in node:
        return str(node["const"])
    words = _TYPE_NAMES.get(node.get("type", ""), "another value")
    if node.get("type") == "array":
        words += f" of {_count_range(node)}, each {_allowed(node.get('items', {}), schema)}"
    if node.get("type") == "object":
        words += f" with {', '.join(node.get('properties', {}))}"
    return words + _number_range(node) + _length_range(node)


def _count_range(node: Mapping[str, Any]) -> str:
    least, most = node.get("minItems", 0), node.get("maxItems")
    return f"{least} to {most} entries" if most is not None else f"{least} entries or more"


def _number_range(node: Mapping[str, Any]) -> str:
    bounds = (
        ("exclusiveMinimum", "above"),
        ("minimum", "at least"),
        ("exclusiveMaximum", "below"),
        ("maximum", "at most"),
    )
    parts = [f"{word} {node[key]}" for key, word in bounds if key in node]
    return f" {' and '.join(parts)}" if parts else ""


def _length_range(node: Mapping[str, Any]) -> str:
    if "minLength" not in node and "maxLength" not in node:
        return ""
    return f" of {node.get('minLength', 0)} to {node.get('maxLength', 'any number of')} characters"
