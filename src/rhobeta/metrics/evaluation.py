"""What evaluation keeps of the test split for the figures, as bytes (safetensors)."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError


@dataclass(frozen=True)
class TestRecord:
    """Codes and examples of the test split."""

    __test__ = False  # not a test case, whatever its name says to pytest

    activity: NDArray[np.float32]
    """Activity of every unit for every test image (shape: [images, units])."""
    labels: NDArray[np.uint8]
    """Class of every test image (shape: [images])."""
    examples: NDArray[np.float32]
    """The first test image of each class, in [0, 1] (shape: [classes, height, width])."""
    reconstructions: NDArray[np.float32]
    """Their reconstructions (shape: [classes, height, width])."""
    l0_counts: NDArray[np.int64]
    """How many images have 0, 1, ... active units (shape: [units + 1])."""
    l0_threshold: NDArray[np.float64]
    """The activity above which a unit counts as active there (shape: [1])."""
    top_units: NDArray[np.int64]
    """The most active units, in falling order of mean activity (shape: [at most 1024])."""
    top_images: NDArray[np.uint8]
    """The test images that excite each of them most (shape: [units, 9, height, width])."""

    def to_bytes(self) -> bytes:
        """Serialise; the same record gives the same bytes."""
        from safetensors.numpy import save

        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return save({name: np.ascontiguousarray(values) for name, values in fields.items()})

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str) -> "TestRecord":
        """Rebuild what `to_bytes` made. Raises `RhobetaError` where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return cls(**load(content))
        except (SafetensorError, TypeError, ValueError, KeyError) as error:
            raise RhobetaError(
                f"{name} is damaged ({error}).\nRun `dvc repro --force evaluate` to make it anew."
            ) from None


def first_of_each_class(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Index of the first image of each class, in the order of the classes."""
    return np.unique(labels, return_index=True)[1]
