"""A clone of the repository, whatever git is set to and wherever it lies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY, git

SETUP = REPOSITORY / "tools" / "setup.sh"


def test_clone_has_the_same_bytes_with_any_setting_of_line_ends(tmp_path: Path) -> None:
    attributes = (REPOSITORY / ".gitattributes").read_text()
    origin = tmp_path / "origin"
    files = {"tools/setup.sh": b"#!/bin/sh\n", "data.csv": b"a\nb\n", "no-name": b"x\n"}
    for name, content in files.items():
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        (origin / name).write_bytes(content)
    (origin / ".gitattributes").write_text(attributes)
    (origin / "picture.png").write_bytes(b"no text\r\n\n")
    git(origin, "init", "--quiet")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "--message=start")
    settings = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf")
    git(tmp_path, "clone", "--quiet", *settings, "origin", "clone")
    git(tmp_path / "clone", "config", "core.autocrlf", "true")
    for path in (p for p in origin.rglob("*") if p.is_file() and ".git/" not in str(p)):
        assert (tmp_path / "clone" / path.relative_to(origin)).read_bytes() == path.read_bytes()
    assert git(tmp_path / "clone", "status", "--porcelain") == ""


def test_committed_text_has_no_carriage_return() -> None:
    assert "i/crlf" not in git(REPOSITORY, "ls-files", "--eol")


@pytest.mark.parametrize(
    "name", [b"a$(touch sprung)", b"a`touch sprung`", b'a"', b"a:b", b"a\\", b"a\nb", b"\xff"]
)
def test_folder_that_no_environment_can_lie_in_is_refused(tmp_path: Path, name: bytes) -> None:
    folder = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - bytes
    os.mkdir(folder)  # noqa: PTH102
    (Path(os.fsdecode(folder)) / "re.py").write_text("print('imported re')\n")
    done = subprocess.run(
        ["sh", SETUP, ".venv"],
        cwd=folder,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b'one of : " $ ` \\ in its path' in done.stderr
    assert [path.name for path in Path(os.fsdecode(folder)).iterdir()] == ["re.py"]
