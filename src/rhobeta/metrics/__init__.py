"""Measures of a model: pure functions and one-pass accumulators on arrays and tensors."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rhobeta.metrics.functions import (
        linear_probe,
        reconstruction_quality,
        sparsity_statistics,
    )

__all__ = ["linear_probe", "reconstruction_quality", "sparsity_statistics"]


def __getattr__(name: str) -> Any:
    # On first use, so that a stage imports the measures that it takes and no others.
    if name in __all__:
        from rhobeta.metrics import functions

        return getattr(functions, name)
    raise AttributeError(f"module 'rhobeta.metrics' has no attribute {name!r}")
