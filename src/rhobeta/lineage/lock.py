"""What a `dvc.lock` says of stages: what each read and wrote, and with which parameters.

DVC writes the file, always with the same indentation. Only the asked part is cut out and parsed:
the whole takes a hundred times as long, and histories hold many.
"""

import textwrap
from functools import cache
from typing import Any

MODEL = "models/autoencoder.safetensors"
MANIFEST = "data/processed/manifest.json"
METRICS = "reports/metrics.json"


class Lock:
    """One `dvc.lock`; an empty text is that of a project where nothing ran."""

    def __init__(self, text: str) -> None:
        self._text = text

    @property
    def model(self) -> str | None:
        """MD5 of the model that was trained."""
        return self.written("train", MODEL)

    def written(self, stage: str, path: str) -> str | None:
        """MD5 of what a stage wrote."""
        return self._digest(stage, "outs", path)

    def read(self, stage: str, path: str) -> str | None:
        """MD5 of what a stage read."""
        return self._digest(stage, "deps", path)

    def parameters(self, stage: str) -> dict[str, Any]:
        """The parameters that a stage was run with, by dotted path."""
        found: dict[str, Any] = {}
        try:
            for name, value in _part(self._text, stage, "params")["params.yaml"].items():
                # A whole section, or one parameter by its path.
                found |= _below(name, value) if isinstance(value, dict) else {name: value}
        except (KeyError, TypeError, AttributeError):
            return {}
        return found

    def _digest(self, stage: str, side: str, path: str) -> str | None:
        try:
            entries = _part(self._text, stage, side)
            return next(str(entry["md5"]) for entry in entries if entry["path"] == path)
        except (KeyError, TypeError, StopIteration):
            return None


def _below(section: str, values: dict[str, Any]) -> dict[str, Any]:
    return {f"{section}.{name}": value for name, value in values.items()}


@cache
def _part(text: str, stage: str, part: str) -> Any:
    """The value of `stages.<stage>.<part>`; None where there is none."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    lines = _block(_block(text.splitlines(), f"  {stage}:"), f"    {part}:")
    try:
        return YAML(typ="safe").load(textwrap.dedent("\n".join(lines)))
    except YAMLError:
        return None


def _block(lines: list[str], head: str) -> list[str]:
    """The lines that belong to the key `head`: those behind it that stand deeper, or are items."""
    if head not in lines:
        return []
    behind = lines[lines.index(head) + 1 :]
    depth = len(head) - len(head.lstrip())
    inside = " " * (depth + 1), " " * depth + "- "
    end = next((n for n, line in enumerate(behind) if not line.startswith(inside)), len(behind))
    return behind[:end]
