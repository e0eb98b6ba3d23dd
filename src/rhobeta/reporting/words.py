"""What reports call the samples of a data set, their features and their classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.array_summary import Summary
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.data.splits import Manifest, everything


@dataclass(frozen=True)
class SampleWords:
    """The words for samples of one kind."""

    images: bool
    one: str
    many: str
    feature: str
    features: str


IMAGES = SampleWords(True, "image", "images", "pixel", "pixels")
ROWS = SampleWords(False, "row", "rows", "feature", "features")


def words_of(metrics: Mapping[str, Mapping[str, Any]]) -> SampleWords:
    """The words for the samples that were measured: of images alone there is a PSNR.

    >>> words_of({"test": {"mse": 0.1, "fvu": 0.2}}).many
    'rows'
    """
    return IMAGES if "psnr_db" in metrics["test"] else ROWS


def has_labels(metrics: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the samples that were measured have labels: without them there is no probe."""
    return "probe" in metrics["test"]


@dataclass(frozen=True)
class TestSamples:
    """The test split with its names, as figures and pages show it."""

    __test__ = False  # pytest: not a test case

    samples: Samples
    class_names: Sequence[str] | None = None
    """The name of each label from 0; None: labels are named by their numbers."""
    feature_names: Sequence[str] | None = None
    """None: features are named by their numbers."""

    @classmethod
    def of(cls, samples: Samples, manifest: Manifest) -> "TestSamples":
        """The split with the names in the manifest."""
        return cls(samples, manifest.class_names, manifest.feature_names)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> NDArray[np.uint8] | None:
        """The label of each row; None: there are none."""
        return self.samples.labels

    @property
    def words(self) -> SampleWords:
        """What the samples are called."""
        return ROWS if len(self.samples.shape) == 1 else IMAGES

    def class_name(self, label: int) -> str:
        """The user's name of a class, or its number."""
        return str(label) if self.class_names is None else self.class_names[label]

    def feature_name(self, feature: int) -> str:
        """The user's name of a feature, or its number from 0."""
        if self.feature_names is None:
            return f"feature {feature}"
        return self.feature_names[feature]

    def rows(self, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows as numbers, in the samples' own shape ([rows, *shape]); images are in [0, 1]."""
        values = self.samples.values[chosen]
        return pixels_of(values).reshape(values.shape)

    @cached_property
    def spreads(self) -> NDArray[np.float64]:
        """Standard deviation of each feature (shape: [features])."""
        summary = Summary(self.samples.shape)
        for piece in everything(self.samples).pieces():
            summary.add(piece)
        return summary.spreads

    @cached_property
    def scales(self) -> NDArray[np.float64] | None:
        """What features are divided by where rows are drawn; None: nothing.

        Where their standard deviations lie far apart (the largest ten times the median or more),
        one feature would hide the others. Constant features are divided by 1.
        """
        varying = self.spreads[self.spreads > 0]
        if not len(varying) or varying.max() < _FAR * np.median(varying):
            return None
        return np.where(self.spreads > 0, self.spreads, 1)


_FAR = 10
