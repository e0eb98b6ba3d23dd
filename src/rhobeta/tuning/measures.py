"""What a trial is measured by, all of it on the validation split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.encoding import codes_of
from rhobeta.metrics.probe import Labels, Representation, probe_accuracy
from rhobeta.model.autoencoder import Autoencoder

_PREFIX = "validation/"


@dataclass(frozen=True)
class Probe:
    """The linear probe: fitted on codes of training images, scored on those of validation.

    The validation images also choose C of `inverse_penalties`.
    """

    train: Samples
    validation: Samples
    inverse_penalties: Sequence[float]

    def accuracy(self, model: Autoencoder) -> float:
        """Share of validation images whose class the probe tells, in [0, 1]."""
        codes, labels = _codes(model, self.validation), self.validation.require_labels()
        return probe_accuracy(
            Representation(_codes(model, self.train), codes, codes),
            Labels(self.train.require_labels(), labels, labels),
            inverse_penalties=self.inverse_penalties,
        )


def measures_of_epoch(metrics: dict[str, float], units: int) -> dict[str, float]:
    """The validation metrics of one epoch under their short names, and `dead_share`.

    dead_share = dead_units / units, so that codes of different sizes can be held to one bound.
    """
    measures = {
        name.removeprefix(_PREFIX): value
        for name, value in metrics.items()
        if name.startswith(_PREFIX)
    }
    if "dead_units" in measures:
        measures["dead_share"] = measures["dead_units"] / units
    return measures


def _codes(model: Autoencoder, images: Samples) -> NDArray[np.float32]:
    return codes_of(model, pixels_of(images.values))
