"""Addresses of the files of runs, as MLflow stores them: absolute.

A project may be moved, copied or mounted elsewhere, so an address below a folder `mlruns` means the
same place below the project's own `mlruns` now. A server's address of a file would name a file of
this machine that the server chose, so it is refused.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from rhobeta.errors import RhobetaError
from rhobeta.tracking.redaction import without_password

ARTIFACTS = "artifacts"
"""The folder below `mlruns` that the project's own runs write to."""

# `models:` and `runs:` lead to another address.
_LOCAL = ("", "file", "models", "runs")


def relocated(address: str, mlruns: Path) -> str:
    """The address below `mlruns`, wherever the project was when it was written.

    Unchanged where it names no folder `mlruns`, or a file in another one than `artifacts` that is
    there and not here: files that were brought in from elsewhere.
    """
    path = local_path(address)
    if path is None:
        return address
    _, found, rest = str(path).rpartition(f"/{mlruns.name}/")
    if not found:
        return address
    here = mlruns / rest
    own = rest.partition("/")[0] == ARTIFACTS
    if here == path or not (own or here.exists() or not path.exists()):
        return address
    return here.as_uri() if urlsplit(address).scheme else str(here)


def local_path(address: str) -> Path | None:
    """The absolute path that an address names on this machine; None for any other address."""
    parts = urlsplit(address)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
    elif parts.scheme == "":
        path = Path(address)
    else:
        return None
    return path if path.is_absolute() else None


def require_remote(address: str, server: str) -> None:
    """Raise `RhobetaError` if a server's address of files names a place on this machine."""
    scheme = urlsplit(address.strip()).scheme.lower()
    # A letter is a drive of Windows, which MLflow takes for a folder everywhere.
    if scheme in _LOCAL or len(scheme) == 1:
        raise RhobetaError(
            f"The MLflow server {without_password(server)} keeps the files of runs at {address}, a"
            " path on this machine; nothing is written or read there.\nExpected: a server that"
            " takes files itself (`mlflow server --artifacts-destination FOLDER`) or names an"
            " object store, and an experiment that was made since (runtime.experiment)."
        )
