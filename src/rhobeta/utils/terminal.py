"""What the command prints, whatever characters a name holds and wherever it goes."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

# Control characters but tab and newline, marks that turn the direction of text, separators of
# lines, and the surrogates that stand for bytes of a name that is not text. A progress bar begins
# with a carriage return.
_CONTROL = re.compile(
    r"(?!\A\r)[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""`text` with its control characters written as escapes, such as `\x1b`.

    >>> print(printable("red \x1b[31m, byte \udcff"))
    red \x1b[31m, byte \udcff
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    r"""`text` with `\n` for its newlines: a name must not look like further lines of a list."""
    return text.replace("\n", r"\n")


@contextmanager
def printable_output(without_secrets: Callable[[str], str]) -> Iterator[None]:
    """Let standard output and standard error show every text, in the body, and never fail on one.

    Names come from files, stores and databases that strangers fill: their control characters would
    act on the terminal, and what its encoding lacks would raise an error. `without_secrets` removes
    passwords from each text, which a library's error may quote.
    """
    before = sys.stdout, sys.stderr
    # A stream that was closed before the start is None.
    shown = [
        stream and cast(TextIO, _PrintableStream(stream, without_secrets)) for stream in before
    ]
    sys.stdout, sys.stderr = shown
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _PrintableStream:
    """A text stream that is written to in characters that it can show; otherwise as it is."""

    def __init__(self, stream: TextIO, without_secrets: Callable[[str], str]) -> None:
        self._stream, self._without_secrets = stream, without_secrets

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        shown = (
            printable(self._without_secrets(text))
            .encode(encoding, "backslashreplace")
            .decode(encoding)
        )
        return self._stream.write(shown)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
