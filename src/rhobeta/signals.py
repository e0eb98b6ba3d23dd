"""How the command ends when it is asked to."""

import os
import signal
import sys
from types import FrameType

_PR_SET_PDEATHSIG = 1


def end_on_signals() -> None:
    """Exit with 128 + its number on the first SIGTERM or SIGHUP.

    An exit unwinds the stack, so that runs are marked and partial files removed. Later signals are
    ignored: an impatient second request must not cut short what the first one has begun. A signal
    that is ignored already, as `nohup` sets SIGHUP, stays so.
    """
    asked: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        if not asked:
            asked.append(number)
            raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def end_with_dvc() -> None:
    """Ask the system to send SIGTERM when the `dvc` that started this stage ends (Linux).

    A `dvc` that is killed leaves its stage behind, which would work on for nobody.
    """
    if sys.platform == "linux" and "DVC_STAGE" in os.environ:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
