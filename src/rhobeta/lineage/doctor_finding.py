"""One thing that was looked at, and what was found."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """`ok`; `note` for what is no fault but worth knowing; `FAULT` for what has to be mended."""

    level: Literal["ok", "note", "FAULT"]
    check: str
    """What was looked at, in a word or two."""
    found: str
    advice: str = ""
    """What to do; empty where nothing is."""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding("ok", check, found)


def note(check: str, found: str, advice: str) -> Finding:
    """Worth knowing."""
    return Finding("note", check, found, advice)


def fault(check: str, found: str, advice: str) -> Finding:
    """To be mended."""
    return Finding("FAULT", check, found, advice)
