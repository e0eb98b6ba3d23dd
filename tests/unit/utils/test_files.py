"""Files and folders that appear whole or not at all."""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rhobeta.errors import RhobetaError
from rhobeta.utils.files import (
    atomic_folder,
    atomic_write,
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


def test_a_file_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "er" / "file.bin"
    with atomic_write(path) as partial:
        partial.write_bytes(b"first half")
        assert not path.exists()
        with partial.open("ab") as file:
            file.write(b", second half")
        assert not path.exists()
    assert tree(path.parent) == {"file.bin": b"first half, second half"}


def test_a_reader_has_the_old_file_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old content")
    with path.open("rb") as reader:
        with atomic_write(path) as partial:
            partial.write_bytes(b"new")
            assert path.read_bytes() == b"old content"
        assert reader.read() == b"old content"
    assert tree(tmp_path) == {"file.bin": b"new"}


def test_a_partial_file_lies_beside_the_real_one_under_a_name_that_tells(tmp_path):
    path = tmp_path / "file.bin"
    with atomic_write(path) as partial:
        assert partial.parent == path.parent
        assert partial.name.startswith(".file.bin.")
        assert partial.suffix == ".part"
    with atomic_folder(tmp_path / "folder") as partial:
        assert partial.parent == path.parent
        assert partial.name.startswith(".folder.")
        assert partial.suffix == ".part"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("before", [{}, {"file.bin": b"old"}])
def test_a_body_that_raises_leaves_the_file_as_it_was(tmp_path, before, end):
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(end):
        fill_and_fail(atomic_write(tmp_path / "file.bin"), end)
    assert tree(tmp_path) == before


def test_a_file_that_cannot_take_its_place_leaves_no_partial_one(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path / "taken", b"content")
    assert tree(tmp_path) == {"taken": None}


def test_the_bytes_are_flushed_to_disk_before_the_file_appears(tmp_path, monkeypatch):
    path, flushed = tmp_path / "file.bin", []

    def fsync(handle):
        flushed.append((os.pread(handle, 100, 0), path.exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_bytes(path, b"content")
    assert flushed == [(b"content", False)]


def test_files_and_folders_have_the_mode_that_the_umask_gives(tmp_path, umask):
    write_bytes(tmp_path / "file.bin", b"content")
    with atomic_folder(tmp_path / "folder"):
        pass
    assert (tmp_path / "file.bin").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~umask
    assert os.umask(umask) == umask


def test_a_folder_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "deep" / "folder"
    with atomic_folder(path) as partial:
        (partial / "a").write_bytes(b"1")
        assert not path.exists()
        (partial / "sub").mkdir()
    assert tree(path.parent) == {"folder": None, "folder/a": b"1", "folder/sub": None}


def test_a_new_folder_replaces_the_old_one_with_all_its_files(tmp_path):
    path = tmp_path / "folder"
    (path / "sub").mkdir(parents=True)
    (path / "old").write_bytes(b"old")
    with atomic_folder(path) as partial:
        (partial / "new").write_bytes(b"new")
        assert tree(path) == {"old": b"old", "sub": None}
    assert tree(tmp_path) == {"folder": None, "folder/new": b"new"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("before", [{}, {"folder": None, "folder/old": b"old"}])
def test_a_body_that_raises_leaves_the_folder_as_it_was(tmp_path, before, end):
    for name, content in before.items():
        (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(end):
        fill_and_fail(atomic_folder(tmp_path / "folder"), end)
    assert tree(tmp_path) == before


def killed_while_writing(path, kind):
    """Leave what a process leaves that is killed in the middle."""
    code = (
        "import os, sys\nfrom pathlib import Path\n"
        f"from rhobeta.utils.files import {kind}\n"
        f"with {kind}(Path(sys.argv[1])) as partial:\n"
        "    (partial / 'half' if partial.is_dir() else partial).write_text('half of it')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == -9


@pytest.mark.parametrize("kind", [atomic_write, atomic_folder])
def test_what_a_killed_process_left_goes_with_the_next_writing(tmp_path, kind):
    path = tmp_path / "data"
    (tmp_path / ".database.12345678.part").write_text("another's")
    (tmp_path / ".data.txt").write_text("no partial file")
    kept = tree(tmp_path)
    killed_while_writing(path, kind.__name__)
    (left,) = {child.name for child in tmp_path.iterdir()} - set(kept)
    assert left.startswith(".data.")
    assert left.endswith(".part")
    with kind(path):
        assert not (tmp_path / left).exists()
    assert path.exists()
    assert {name: tree(tmp_path)[name] for name in kept} == kept
    assert len(list(tmp_path.iterdir())) == len(kept) + 1


@pytest.mark.parametrize("kind", [atomic_write, atomic_folder])
def test_what_a_living_process_writes_is_left_to_it(tmp_path, kind):
    path = tmp_path / "data"
    with kind(path) as first:
        with kind(path) as second:
            assert first.exists()
            assert first != second
        assert first.exists()
        with pytest.raises(ValueError, match="of its own"), kind(path):
            raise ValueError("of its own")
        assert first.exists()
        assert second != first
    assert [child.name for child in tmp_path.iterdir()] == ["data"]


def test_a_partial_file_that_is_taken_for_stale_before_it_is_locked_is_made_anew(
    tmp_path, monkeypatch
):
    plain, names = fcntl.flock, []

    def flock(handle, how):
        if not names:
            (partial,) = tmp_path.glob(".*.part")
            names.append(partial)
            partial.unlink()
        plain(handle, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with atomic_write(tmp_path / "data") as partial:
        assert partial != names[0]
        partial.write_text("whole")
    assert tree(tmp_path) == {"data": b"whole"}


def test_on_a_file_system_without_locks_files_are_written_and_nothing_is_stale(
    tmp_path, monkeypatch
):
    def flock(handle, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".data.12345678.part").write_text("perhaps another's")
    write_text(tmp_path / "data", "whole")
    assert tree(tmp_path) == {"data": b"whole", ".data.12345678.part": b"perhaps another's"}


def test_the_files_of_a_folder_are_flushed_to_disk_before_it_appears(tmp_path, monkeypatch):
    path, flushed = tmp_path / "folder", []

    def fsync(handle):
        flushed.append((Path(f"/proc/self/fd/{handle}").readlink().name, path.exists()))

    with atomic_folder(path) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "a").write_bytes(b"1")
        monkeypatch.setattr(os, "fsync", fsync)
    assert sorted(flushed) == sorted([(name, False) for name in ("a", "sub", partial.name)])


def test_an_old_folder_is_moved_away_whole_before_any_of_it_is_removed(tmp_path, monkeypatch):
    path, seen = tmp_path / "folder", []
    path.mkdir()
    (path / "old").write_bytes(b"old")
    plain = shutil.rmtree

    def rmtree(folder, **options):
        seen.append(tree(path))
        plain(folder, **options)

    with atomic_folder(path) as partial:
        (partial / "new").write_bytes(b"new")
        monkeypatch.setattr(shutil, "rmtree", rmtree)
    assert seen == [{"new": b"new"}]


def test_a_folder_that_cannot_take_its_place_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    path.mkdir()
    (path / "old").write_bytes(b"old")
    plain = os.replace

    def replace(source, target):
        if Path(target) == path and not Path(source).name.endswith(".old.part"):
            raise OSError(errno.EIO, "Input/output error")
        plain(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(OSError, match="Input/output error"), atomic_folder(path) as partial:
        (partial / "new").write_bytes(b"new")
    assert tree(tmp_path) == {"folder": None, "folder/old": b"old"}


def test_text_is_written_as_utf_8_with_its_line_ends_kept(tmp_path):
    write_text(tmp_path / "text", "β̂ = 0,05\nβ\r\n")
    assert (tmp_path / "text").read_bytes() == "β̂ = 0,05\nβ\r\n".encode()


def test_json_is_written_indented_in_the_order_given_with_a_final_newline(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": [0.1, None]})
    assert (tmp_path / "a.json").read_text() == (
        '{\n  "b": 1,\n  "a": [\n    0.1,\n    null\n  ]\n}\n'
    )


def test_json_survives_the_round_trip(tmp_path):
    value = {"text": "β", "number": 0.1 + 0.2, "list": [1, None, True], "empty": {}}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json", made_by="rhobeta x") == value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_json_refuses_what_it_has_no_word_for_and_the_old_file_stays(tmp_path, number):
    path = tmp_path / "a.json"
    path.write_text("[1]")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": [number]})
    assert tree(tmp_path) == {"a.json": b"[1]"}


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"{'a': 1}", b'"\xff"', b"[" * 100_000])
def test_a_damaged_json_file_is_named_with_the_command_that_makes_it(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(RhobetaError) as caught:
        read_json(path, made_by="rhobeta evaluate")
    assert str(caught.value).startswith(f"{path} is not valid JSON (")
    assert "Run `rhobeta evaluate` again." in str(caught.value)


def test_a_missing_file_is_named_with_the_command_that_makes_it(tmp_path):
    path = tmp_path / "a.json"
    for attempt in (require_file, read_json):
        with pytest.raises(RhobetaError) as caught:
            attempt(path, made_by="rhobeta evaluate")
        assert str(caught.value).startswith(f"{path} is missing.")
        assert "`rhobeta evaluate`" in str(caught.value)


def test_a_file_that_is_there_is_returned_and_a_folder_is_none(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(1))
    assert require_file(path, made_by="rhobeta evaluate") == path
    with pytest.raises(RhobetaError, match="is missing"):
        require_file(tmp_path, made_by="rhobeta evaluate")


# The examples of FIPS 180-4.
@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
    ],
)
def test_sha256_of_the_standards_examples(tmp_path, content, digest):
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_bytes(content) == digest
    assert sha256_of_file(tmp_path / "file") == digest


@pytest.mark.parametrize("size", [(1 << 20) - 1, 1 << 20, (2 << 20) + 1])
def test_sha256_of_a_file_covers_all_its_pieces(tmp_path, size):
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "file").write_bytes(content[:size])
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content[:size]).hexdigest()
