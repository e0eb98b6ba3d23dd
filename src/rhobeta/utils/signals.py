"""How the command ends when it is asked to."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

PARENT = "RHOBETA_PARENT"
"""The variable that names the process that started this one to share its work."""

_PR_SET_PDEATHSIG = 1


class EndedBySignal(SystemExit):
    """An exit that unwinds the stack, so that runs are marked and partial files removed."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number)
        super().__init__(128 + number)


def end_as_asked(number: int) -> NoReturn:
    """Raise the exception for a signal: `KeyboardInterrupt` for SIGINT, else `EndedBySignal`."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise EndedBySignal(number)


def end_on_signals() -> None:
    """Raise `EndedBySignal` in the main thread on the first SIGTERM or SIGHUP.

    Later ones are ignored, so that they do not interrupt the clean-up. A signal that is ignored
    already, as `nohup` sets SIGHUP, stays ignored.
    """
    asked: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        if not asked:
            asked.append(number)
            raise EndedBySignal(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def end_at_once_on_signals() -> None:
    """Let SIGTERM and SIGHUP end the process as they do by default, once its work is done.

    Python calls the exit functions of libraries then, in which an exception would be printed.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def end_with_starter() -> None:
    """Ask Linux to send SIGTERM to this process when its starter ends.

    The starter is a `dvc`, or the stage whose work this process shares. If it is killed, nothing
    else would end this process, which would hold its devices and the workspace. Neither Python nor
    torchrun has another way; elsewhere than on Linux this does nothing.
    """
    if sys.platform != "linux" or not {"DVC_STAGE", PARENT} & os.environ.keys():
        return
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    # The starter may have ended before the call.
    if os.environ.get(PARENT, str(os.getppid())) != str(os.getppid()):
        raise EndedBySignal(signal.SIGTERM)
