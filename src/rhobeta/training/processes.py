"""Several processes that do one stage's work together, started, watched and ended as one.

Lightning's own launcher kills its main process when another dies, so that nobody is left to end
the run and say why; hence this one. Each process is told its place as torchrun would.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from rhobeta.errors import RhobetaError
from rhobeta.utils.signals import PARENT, end_as_asked

_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_in_processes(
    command: Sequence[str], per_node: int, nodes: int, *, module: str = "rhobeta"
) -> None:
    """Run `python -m MODULE COMMAND` in `per_node` processes on this node, and wait for all.

    On several nodes the environment tells each its NODE_RANK, and all the MASTER_ADDR and
    MASTER_PORT of the first. A first signal is passed on, a second one kills. When one process ends
    with a fault, the others are given five seconds to end by themselves, then asked, then killed:
    none is left behind.

    Raises `RhobetaError` where a process was killed, `SystemExit` with its status where one ended
    with a fault that it has told itself, `KeyboardInterrupt` on Ctrl-C.
    """
    places = _places(per_node, nodes)
    # In sessions of their own, so that a Ctrl-C reaches each once: from here.
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", module, *command],
            env=os.environ | place | {PARENT: str(os.getpid())},
            start_new_session=True,
        )
        for place in places
    ]
    try:
        with _signals_passed_on(processes) as asked:
            _wait(processes)
    finally:
        _end(processes)
    _report(processes, [int(place["RANK"]) for place in places], asked)


def _places(per_node: int, nodes: int) -> list[dict[str, str]]:
    here = {name: os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")}
    if nodes == 1:
        here = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port(), "NODE_RANK": "0"}
    missing = [name for name, value in here.items() if not value]
    if missing:
        raise RhobetaError(
            f"runtime.nodes is {nodes}, but {', '.join(missing)} is not in the environment: a node"
            " has to know the others.\nSet MASTER_ADDR and MASTER_PORT to the first node's address"
            " and a free port of it, and NODE_RANK to 0, 1, ... on each node; or start it by"
            " torchrun or srun (docs/scaling.md)."
        )
    told = {name: str(value) for name, value in here.items()}
    if not told["NODE_RANK"].isdecimal() or int(told["NODE_RANK"]) >= nodes:
        raise RhobetaError(
            f"NODE_RANK is {told['NODE_RANK']!r}, but runtime.nodes is {nodes}: expected a number"
            f" from 0 to {nodes - 1}, another on each node."
        )
    first = int(told["NODE_RANK"]) * per_node
    return [
        told
        | {
            "RANK": str(first + local),
            "LOCAL_RANK": str(local),
            "WORLD_SIZE": str(nodes * per_node),
            "LOCAL_WORLD_SIZE": str(per_node),
            "GROUP_RANK": told["NODE_RANK"],
        }
        for local in range(per_node)
    ]


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@contextmanager
def _signals_passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    asked: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            process.send_signal(signal.SIGKILL if asked else number)
        asked.append(number)

    # One that is ignored here is for somebody else to act on.
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, pass_on) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Return when all have ended well, or one has not."""
    while True:
        statuses = [process.poll() for process in processes]
        if all(status == 0 for status in statuses) or any(statuses):
            return
        time.sleep(_LOOK_SECONDS)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for ask in (None, signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if ask is not None and process.poll() is None:
                process.send_signal(ask)
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and any(p.poll() is None for p in processes):
            time.sleep(_LOOK_SECONDS)


def _report(
    processes: Sequence[subprocess.Popen[bytes]], ranks: Sequence[int], asked: Sequence[int]
) -> None:
    statuses = [process.returncode for process in processes]
    if asked and any(statuses):
        # However each took it: one that has only begun is ended by the signal itself.
        end_as_asked(asked[0])
    killed = [(rank, -code) for rank, code in zip(ranks, statuses, strict=True) if code < 0]
    if killed:
        rank, number = killed[0]
        raise RhobetaError(
            f"Process {rank} of the training was ended by signal {number}"
            f" ({signal.Signals(number).name}), and so were all the others. No model was written.\n"
            "Was memory short, or did somebody kill it? Run it again: training goes on from where"
            " its state was last kept."
        )
    worst = max(statuses)
    if worst > 128:
        end_as_asked(worst - 128)
    if worst:
        raise SystemExit(worst)
