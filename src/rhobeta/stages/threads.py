"""How many CPU threads torch may use in a stage."""

from typing import Literal


def use_threads(threads: int | Literal["auto"]) -> None:
    """Set torch's intra-operation threads; `auto` leaves its own choice, one a core."""
    import torch

    if threads != "auto":
        torch.set_num_threads(threads)
