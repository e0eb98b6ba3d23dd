"""What is printed of names that hold any character, on outputs of any encoding."""

import io
import sys

import pytest

from rhobeta.utils.terminal import printable, printable_output

NAME = "é\udcff\x1b[2J\x9b\x07\u202e\r\u2028\x7f"


def test_control_characters_are_written_as_escapes() -> None:
    assert printable(NAME) == r"é\udcff\x1b[2J\x9b\x07\u202e\r\u2028\x7f"
    plain = "a\tb\n日本 🙂 \u200c\u00a0 \\x1b"
    assert printable(plain) == plain


def test_progress_bar_returns_to_the_start_of_its_line() -> None:
    assert printable("\r 50 %") == "\r 50 %"
    assert printable("50 %\r\r") == r"50 %\r\r"


@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", r"\xe9"), ("utf-8", "é"), ("latin-1", "é"), ("utf-16", "é")]
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_no_encoding_fails_on_a_name(
    encoding: str, shown: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding, errors="strict")
    monkeypatch.setattr(sys, stream, output)
    with printable_output(str):
        print(NAME, file=getattr(sys, stream))
        getattr(sys, stream).writelines([NAME, "\n"])
        assert not getattr(sys, stream).isatty()
    assert getattr(sys, stream) is output
    output.flush()
    line = shown + printable(NAME[1:])
    assert output.buffer.getvalue().decode(encoding).splitlines() == [line, line]


def test_closed_output_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with printable_output(str):
        print("nowhere")


def test_no_secret_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_output(lambda text: text.replace("hunter2", "***")):
        print("hunter2", file=sys.stderr)
        sys.stdout.writelines(["a hunter2"])
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("a ***", "***\n")
