"""How many CPU threads torch may use in a stage."""

from typing import Literal


def use_threads(threads: int | Literal["auto"], processes: int = 1) -> None:
    """Set torch's intra-operation threads.

    `auto` leaves torch's own choice, one a core; where several `processes` work side by side on
    this machine, each gets its share of the cores.
    """
    import torch

    if threads != "auto":
        torch.set_num_threads(threads)
    elif processes > 1:
        torch.set_num_threads(max(1, cores() // processes))


def cores() -> int:
    """Cores that this process may use, as the container and the scheduler allow."""
    from joblib import cpu_count

    return int(cpu_count())
