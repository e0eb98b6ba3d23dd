"""Which errors are shown as a message instead of a traceback."""

import errno
import re

from rhobeta.errors import RhobetaError
from rhobeta.extensions import place_of_fault

_STORE_LIBRARIES = ("mlflow", "optuna", "sqlalchemy", "requests", "urllib3")
# As torch, CUDA, the loader of shared libraries and the system say it.
_NO_MEMORY = re.compile(
    r"can.?t allocate memory|cannot allocate memory|out of memory|failed to map segment", re.I
)


def explain(error: Exception, command: str) -> str | None:
    """The message that a user can act on, or None for an error that is a fault of the program."""
    if isinstance(error, RhobetaError):
        return str(error)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
        return (
            f"there is not enough memory ({str(error).partition(chr(10))[0] or 'no details'}).\n"
            "Close other programs, raise the limit of the shell or container (`ulimit -v`), or"
            " take fewer images, a smaller model.hidden_sizes or training.batch_size."
        )
    if (place := place_of_fault(error)) is not None:
        return (
            f"{place}: {type(error).__name__}: {error}\n"
            "Correct the file, or name another penalty.kind or model.code_activation."
        )
    # By name, so that a command without a store does not import these libraries.
    if type(error).__module__.partition(".")[0] in _STORE_LIBRARIES:
        return _store_error(error, command)
    if isinstance(error, OSError):
        return _file_error(error)
    if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("rhobeta"):
        return (
            f"the package {error.name} is not installed here. The commands need more than the"
            ' estimator: `make setup` in a clone, or pip install "rhobeta[pipeline]".'
        )
    return None


def _store_error(error: Exception, command: str) -> str:
    from rhobeta.tracking.redaction import message_of

    # The statement that failed does not help the user.
    reason = message_of(error)[:500]
    store = "MLflow store" + (", or the studies' database," if command == "tune" else "")
    return (
        f"the {store} failed in the middle of the work: {reason}\nDVC does not count this stage"
        " as done. Check the store (its server, its disk, other processes that lock it) and run"
        " the command again."
    )


def _file_error(error: OSError) -> str | None:
    place = error.filename or "a file or the standard output"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"the disk is full: {place} could not be written, and nothing half-written was left.\n"
            "Free some space and run the command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place} is not accessible ({error.strerror}).\nGrant access and run it again."
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return f"{place} cannot be opened ({error.strerror}).\nRaise the limit: ulimit -n 1024."
    if error.filename and error.errno in (
        errno.ENOTDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
    ):
        return f"{place} cannot be used ({error.strerror}).\nName another place."
    return None
