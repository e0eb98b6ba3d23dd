"""rhobeta: a reproducible, experiment-tracked pipeline around a KL-sparse autoencoder."""

__version__ = "0.2.0"
