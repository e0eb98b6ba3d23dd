"""rhobeta: sparse autoencoders with a KL penalty, from Python and as a tracked pipeline."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rhobeta.estimator.loading import load
    from rhobeta.estimator.sparse_autoencoder import SparseAutoencoder

__version__ = "0.2.0"
__all__ = ["SparseAutoencoder", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # On first use, so that the command line starts without torch and scikit-learn.
    if name == "SparseAutoencoder":
        from rhobeta.estimator.sparse_autoencoder import SparseAutoencoder

        return SparseAutoencoder
    if name == "load":
        from rhobeta.estimator.loading import load

        return load
    raise AttributeError(f"module 'rhobeta' has no attribute {name!r}")
