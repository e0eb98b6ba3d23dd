"""One stage at a time in a workspace."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rhobeta.errors import RhobetaError
from rhobeta.utils.signals import PARENT

_FILE = ".rhobeta.lock"
# Set by torchrun and SLURM for each process of one training.
_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


@contextmanager
def workspace_lock(workspace: Path, command: str) -> Iterator[None]:
    """Hold the workspace while `command` works in it.

    The lock is a file in the workspace that git ignores; the system releases it when the process
    ends, however it ends. The processes of one training share it: those that a stage starts, and
    those of rank 1 and above that torchrun or SLURM starts.

    Raises:
        RhobetaError: Another process holds the workspace.
    """
    if os.environ.get(PARENT) == str(os.getppid()) or any(
        os.environ.get(name, "0") != "0" for name in _RANKS
    ):
        yield
        return
    lock = FileLock(workspace / _FILE, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise RhobetaError(
            f"another process is at work in {workspace}; two stages at once would mix their files."
            f"\nWait for it, or end it, and run `rhobeta {command}` again. For several experiments"
            " at once use `dvc exp run --temp`, or a clone for each."
        ) from None
    try:
        yield
    finally:
        lock.release()
