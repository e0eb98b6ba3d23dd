"""One stage at a time in a workspace.

The lock is on the workspace's folder itself, so it leaves no file that git or DVC would see. The
system releases it when the process that holds it ends, however it ends.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rhobeta.errors import RhobetaError
from rhobeta.utils.signals import PARENT

# Set by torchrun and SLURM for each process of one training.
_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")

# Where Linux lists who holds which lock.
_LOCKS = Path("/proc/locks")


@contextmanager
def workspace_lock(workspace: Path, stage: str) -> Iterator[None]:
    """Hold the workspace while `stage` works in it.

    Raises `RhobetaError`, at once, while another process holds it. Of the processes that a launcher
    starts for one training the first takes it; those that a stage starts itself work under its
    lock. On a file system that has no locks nothing is held and nothing refused.
    """
    if _shares_the_work_of_another():
        yield
        return
    handle = os.open(workspace, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RhobetaError(_at_work(handle, workspace, stage)) from None
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def _shares_the_work_of_another() -> bool:
    return os.environ.get(PARENT) == str(os.getppid()) or any(
        os.environ.get(name, "0") != "0" for name in _RANKS
    )


def _at_work(handle: int, workspace: Path, stage: str) -> str:
    pid = _holder(handle)
    who = "another process" if pid is None else f"process {pid} ({_command(pid)})"
    end = "end it" if pid is None else f"end it (kill {pid})"
    return (
        f"{who} is at work in {workspace}, and two stages at once would mix their files.\n"
        f"Wait for it, or {end}, and run `rhobeta {stage}` again. For several experiments at once"
        " use `dvc exp run --temp`, or a clone for each."
    )


def _holder(handle: int) -> int | None:
    # A line is "1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF".
    inode = os.fstat(handle).st_ino
    try:
        locks = _LOCKS.read_text()
    except OSError:
        return None
    for line in locks.splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == str(inode):
            return int(words[4])
    return None


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended meanwhile"
    names = [Path(word).name if number < 2 else word for number, word in enumerate(words)]
    command = " ".join(name for name in names if name)
    return command if len(command) < 80 else f"{command[:77]}..."
