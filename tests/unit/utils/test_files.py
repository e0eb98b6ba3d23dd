"""Files and folders that appear whole or not at all."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from rhobeta.errors import RhobetaError
from rhobeta.utils.files import (
    atomic_folder,
    atomic_write,
    private_file,
    private_folder,
    read_json,
    require_file,
    sha256_of_bytes,
    sha256_of_file,
    write_bytes,
    write_json,
    write_text,
)

ENDS = [ValueError, KeyboardInterrupt, SystemExit]


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def tree(folder):
    """Every file below `folder` with its bytes, and every folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def fill_and_fail(context, end):
    with context as partial:
        if partial.is_dir():
            partial = partial / "new"
        partial.write_text("half of it")
        raise end


def test_file_appears_only_when_complete(tmp_path):
    path = tmp_path / "deep" / "er" / "file.bin"
    with atomic_write(path) as partial:
        partial.write_bytes(b"first half")
        assert not path.exists()
        with partial.open("ab") as file:
            file.write(b", second half")
        assert not path.exists()
    assert tree(path.parent) == {"file.bin": b"first half, second half"}


def test_reader_has_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old content")
    with path.open("rb") as reader:
        with atomic_write(path) as partial:
            partial.write_bytes(b"new")
            assert path.read_bytes() == b"old content"
        assert reader.read() == b"old content"
    assert tree(tmp_path) == {"file.bin": b"new"}


def test_partial_file_lies_beside_the_real_one(tmp_path):
    path = tmp_path / "file.bin"
    with atomic_write(path) as partial:
        assert partial.parent == path.parent
        assert partial.name.startswith(".file.bin.")
        assert partial.suffix == ".part"
        partial.touch()
    with atomic_folder(tmp_path / "folder") as partial:
        assert partial.parent == path.parent
        assert partial.name.startswith(".folder.")
        assert partial.suffix == ".part"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("before", [{}, {"file.bin": b"old"}])
def test_file_stays_when_the_body_raises(tmp_path, before, end):
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(end):
        fill_and_fail(atomic_write(tmp_path / "file.bin"), end)
    assert tree(tmp_path) == before


def test_file_that_cannot_be_renamed_leaves_no_partial_one(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path / "taken", b"content")
    assert tree(tmp_path) == {"taken": None}


def test_bytes_are_flushed_before_the_file_appears(tmp_path, monkeypatch):
    path, flushed = tmp_path / "file.bin", []

    def fsync(handle):
        flushed.append((os.pread(handle, 100, 0), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(path, b"content")
    assert flushed == [(b"content", False)]


def test_mode_is_that_of_the_umask(tmp_path, umask):
    write_bytes(tmp_path / "file.bin", b"content")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask
    assert os.umask(umask) == umask


def test_folder_appears_only_when_complete(tmp_path):
    path = tmp_path / "deep" / "folder"
    with atomic_folder(path) as partial:
        (partial / "a").write_bytes(b"1")
        assert not path.exists()
        (partial / "sub").mkdir()
    assert tree(path.parent) == {"folder": None, "folder/a": b"1", "folder/sub": None}


def test_new_folder_replaces_the_old_one(tmp_path):
    path = tmp_path / "folder"
    (path / "sub").mkdir(parents=True)
    (path / "old").write_bytes(b"old")
    with atomic_folder(path) as partial:
        (partial / "new").write_bytes(b"new")
        assert tree(path) == {"old": b"old", "sub": None}
    assert tree(tmp_path) == {"folder": None, "folder/new": b"new"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("before", [{}, {"folder": None, "folder/old": b"old"}])
def test_folder_stays_when_the_body_raises(tmp_path, before, end):
    for name, content in before.items():
        (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(end):
        fill_and_fail(atomic_folder(tmp_path / "folder"), end)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("kind", [atomic_write, atomic_folder])
def test_killed_process_leaves_a_partial_name_alone(tmp_path, kind):
    path = tmp_path / "data"
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        f"from rhobeta.utils.files import {kind.__name__}\n"
        f"with {kind.__name__}(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half' if partial.is_dir() else partial).write_text('half of it')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".data.")
    assert left.suffix == ".part"
    with kind(path) as partial:
        if kind is atomic_folder:  # the next writing removes what was left
            assert list(partial.iterdir()) == []
        else:
            partial.write_text("whole")
    assert path.exists()
    assert left.exists() is (kind is atomic_write)


def test_two_writers_of_one_file_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "data"
    with atomic_write(path) as first:
        first.write_text("first")
        with atomic_write(path) as second:
            second.write_text("second")
    assert tree(tmp_path) == {"data": b"first"}


@pytest.mark.parametrize("fails_at", [1, 2])
def test_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch, fails_at):
    path, calls = tmp_path / "folder", []
    path.mkdir()
    (path / "old").write_bytes(b"old")
    plain = Path.replace

    def replace(source, target):
        calls.append(source)
        if len(calls) == fails_at:
            raise KeyboardInterrupt
        return plain(source, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt), atomic_folder(path) as partial:
        (partial / "new").write_bytes(b"new")
    assert tree(tmp_path) == {"folder": None, "folder/old": b"old"}


def test_text_is_written_as_utf_8_with_its_line_ends(tmp_path):
    write_text(tmp_path / "text", "β̂ = 0,05\nβ\r\n")
    assert (tmp_path / "text").read_bytes() == "β̂ = 0,05\nβ\r\n".encode()


def test_json_is_written_indented_in_the_order_given(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.1, None]})
    assert (tmp_path / "a.json").read_text() == (
        '{\n  "b": 1,\n  "a": [\n    0.1,\n    null\n  ]\n}\n'
    )


def test_json_survives_the_round_trip(tmp_path):
    value = {"text": "β", "number": 0.1 + 0.2, "list": [1, None, True], "empty": {}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", made_by="rhobeta x") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_json_refuses_nan_and_the_old_file_stays(tmp_path, number):
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": [number]})
    assert tree(tmp_path) == {"a.json": b"[1]"}


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"{'a': 1}", b'"\xff"', b"[" * 100_000])
def test_damaged_json_is_named_with_the_command_for_it(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RhobetaError) as caught:
        read_json(path, made_by="rhobeta evaluate")
    assert str(caught.value).startswith(f"{path} is not valid JSON (")
    assert "Run `rhobeta evaluate` again." in str(caught.value)


def test_missing_file_is_named_with_the_command_for_it(tmp_path):
    path = tmp_path / "a.json"
    for attempt in (require_file, read_json):
        with pytest.raises(RhobetaError) as caught:
            attempt(path, made_by="rhobeta evaluate")
        assert str(caught.value).startswith(f"{path} is missing.")
        assert "`rhobeta evaluate`" in str(caught.value)


def test_require_file_returns_files_and_refuses_folders(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(1))
    assert require_file(path, made_by="rhobeta evaluate") == path
    with pytest.raises(RhobetaError, match="is missing"):
        require_file(tmp_path, made_by="rhobeta evaluate")


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
)
def test_sha256_of_the_examples_of_fips_180_4(tmp_path, content, digest):
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_bytes(content) == digest
    assert sha256_of_file(tmp_path / "file") == digest


def test_what_may_hold_secrets_is_private(tmp_path, umask):
    file, folder = tmp_path / "deep" / "file", tmp_path / "deep" / "folder"
    private_file(file)
    private_folder(folder)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, folder)]
    # A group that may write is a team.
    assert modes == ([0o660, 0o770] if umask == 0o002 else [0o600, 0o700])
    # What is there stays as it is.
    file.write_text("it")
    file.chmod(0o644)
    private_file(file)
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("it", 0o644)
