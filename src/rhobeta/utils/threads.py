"""How many CPU threads a stage may use."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal


def use_threads(threads: int | Literal["auto"], processes: int = 1) -> None:
    """Set torch's intra-operation threads.

    `auto` leaves torch's own choice, one a core, which `adaptive_threads` lowers while a training
    has not got them; where several `processes` work side by side on this machine, each gets its
    share of the cores.
    """
    import torch

    if threads != "auto":
        torch.set_num_threads(threads)
    elif processes > 1:
        torch.set_num_threads(max(1, cores() // processes))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread; usable as a decorator too.

    Libraries add the parts of their threads in an order that depends on the number of threads: the
    last digits, and with them the bytes of an output, would depend on the machine.
    """
    # Each of these loads libraries with threads of their own, which cannot be limited before.
    import sklearn.linear_model  # noqa: F401
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Cores that this process may use, as the container and the scheduler allow."""
    from joblib import cpu_count

    return int(cpu_count())
