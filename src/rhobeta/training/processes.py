"""Several processes that train one model: torchrun's elastic agent starts and supervises them."""

import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rhobeta.errors import RhobetaError
from rhobeta.utils.signals import PARENT, end_as_asked

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_SHUTDOWN_SECONDS = 20
"""How long processes that are asked to end may take before they are killed."""


def run_in_processes(
    command: Sequence[str], per_node: int, nodes: int, *, module: str = "rhobeta"
) -> None:
    """Run `python -P -m MODULE COMMAND` in `per_node` processes on this node, and wait for all.

    This is `torchrun --nproc-per-node PER_NODE --max-restarts 0 -m MODULE COMMAND`. For several
    nodes the environment names, as for torchrun, NODE_RANK, and MASTER_ADDR and MASTER_PORT of the
    first. SIGINT, SIGTERM and SIGHUP are passed on to the processes. When one fails, the others get
    SIGTERM; those that have not ended after 30 seconds (20 on a signal) are killed.

    Raises `RhobetaError` where a process was killed, `SystemExit` with its status where one failed
    and has said why, `KeyboardInterrupt` on Ctrl-C, `EndedBySignal` on another signal.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The agent's log repeats what the processes and this function say.
    elastic = logging.getLogger("torch.distributed.elastic")
    elastic.propagate = False
    elastic.addHandler(logging.NullHandler())
    with _signals_and_parent() as signals:
        config = LaunchConfig(
            min_nodes=nodes,
            max_nodes=nodes,
            nproc_per_node=per_node,
            run_id="rhobeta",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
            signals_to_handle=",".join(signals),
            shutdown_timeout=_SHUTDOWN_SECONDS,
            **_rendezvous(nodes),
        )
        try:
            elastic_launch(config, sys.executable)("-P", "-m", module, *command)
        except SignalException as error:
            end_as_asked(error.sigval)
        except ChildFailedError as error:
            _report(error)


def _rendezvous(nodes: int) -> dict[str, Any]:
    """How the nodes find each other: torchrun's `--standalone` or its `--node-rank`."""
    if nodes == 1:
        return {
            "rdzv_backend": "c10d",
            "rdzv_endpoint": "localhost:0",
            "local_addr": "localhost",
        }
    names = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise RhobetaError(
            f"runtime.nodes is {nodes}, but {', '.join(missing)} is not in the environment.\nSet"
            " MASTER_ADDR and MASTER_PORT to the first node's address and a free port of it, and"
            " NODE_RANK to 0, 1, ... on each node; or start it by torchrun or srun"
            " (docs/scaling.md)."
        )
    address, port, rank = (os.environ[name] for name in names)
    if not rank.isdecimal() or int(rank) >= nodes:
        raise RhobetaError(
            f"NODE_RANK is {rank!r}, but runtime.nodes is {nodes}: expected a number from 0 to"
            f" {nodes - 1}, another on each node."
        )
    return {
        "rdzv_backend": "static",
        "rdzv_endpoint": f"{address}:{port}",
        "rdzv_configs": {"rank": int(rank)},
    }


@contextmanager
def _signals_and_parent() -> Iterator[list[str]]:
    """Yield the signals for the agent to handle; restore handlers and environment afterwards.

    A signal that is ignored here, as SIGHUP under nohup, stays ignored.
    """
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    }
    before = os.environ.get(PARENT)
    os.environ[PARENT] = str(os.getpid())
    try:
        yield [number.name for number in handlers]
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.environ.pop(PARENT)
        if before is not None:
            os.environ[PARENT] = before


def _report(error: "ChildFailedError") -> None:
    # Those that the agent ended follow the first one to fail.
    rank, failure = error.get_first_failure()
    status = failure.exitcode
    if status < 0 and -status != signal.SIGTERM:
        number = -status
        raise RhobetaError(
            f"Process {rank} of the training was ended by signal {number}"
            f" ({signal.Signals(number).name}), and all others were stopped. No model was written."
            "\nWas memory short, or did somebody kill it? Run it again: the training resumes from"
            " its last checkpoint."
        ) from None
    status = 128 - status if status < 0 else status
    if status > 128:
        end_as_asked(status - 128)
    raise SystemExit(status)
