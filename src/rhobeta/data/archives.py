"""Files and packages from elsewhere, read with bounded memory and without unpacking to disk."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable

_LARGEST_FILE = 256 << 20
_PIECE = 1 << 16
_MOST_MEMBERS = 10_000


class SourceError(Exception):
    """Why one source could not deliver; the next one is tried."""


def gunzip(content: bytes) -> bytes:
    """What the gzip archive `content` holds. Raises `SourceError` if it is damaged or too large."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            return bounded(file.read, "the unpacked archive")
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"the archive is damaged ({error})") from None


def bounded(read: Callable[[int], bytes], name: str) -> bytes:
    """All that `read` gives, piece by piece. Raises `SourceError` above 256 MiB."""
    content = io.BytesIO()
    while piece := read(_PIECE):
        content.write(piece)
        if content.tell() > _LARGEST_FILE:
            raise SourceError(f"{name} has more than {_LARGEST_FILE >> 20} MiB")
    return content.getvalue()


def tar_member(archive: bytes, name: str) -> bytes:
    """The file `name` of a tar archive, read where it lies: no link is followed.

    Raises `SourceError` where there is none, or too much; what `tarfile` raises for damage stays.
    """
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for number, member in enumerate(opened):
            if number == _MOST_MEMBERS:
                raise SourceError(f"the package has more than {_MOST_MEMBERS:,} files")
            if member.name != name:
                continue
            content = opened.extractfile(member) if member.isreg() else None
            if content is None:
                raise SourceError(f"{name} is not a file")
            return bounded(content.read, name)
    raise SourceError(f"{name} is not in the package")
