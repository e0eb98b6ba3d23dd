"""Images with their labels, in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError


@dataclass(frozen=True)
class LabelledImages:
    """Grey images with their labels.

    `images` is (images, height, width) and `labels` (images,), both bytes.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.images.ndim != 3 or self.labels.ndim != 1:
            raise RhobetaError(
                f"Images have the shape {self.images.shape} and labels {self.labels.shape};"
                " expected (images, height, width) and (images,): grey images, one label each."
            )
        if len(self.images) != len(self.labels):
            raise RhobetaError(
                f"There are {len(self.images)} images but {len(self.labels)} labels:"
                " one of the two files is incomplete or belongs to another data set."
            )

    def take(self, indices: NDArray[np.intp]) -> "LabelledImages":
        """The images and labels at `indices`."""
        return LabelledImages(self.images[indices], self.labels[indices])
