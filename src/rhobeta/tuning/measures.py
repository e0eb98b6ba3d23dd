"""What a trial is measured by, all of it on the validation split."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.metrics.encoding import codes_of
from rhobeta.metrics.probe import probe_accuracy
from rhobeta.model.autoencoder import Autoencoder

_PREFIX = "validation/"


@dataclass(frozen=True)
class Probe:
    """The linear probe: fitted on codes of training images, scored on those of validation."""

    train: Samples
    validation: Samples
    inverse_penalty: float
    iterations: int

    def accuracy(self, model: Autoencoder) -> float:
        """Share of validation images whose class the probe tells, in [0, 1]."""
        return probe_accuracy(
            _codes(model, self.train),
            self.train.require_labels(),
            _codes(model, self.validation),
            self.validation.require_labels(),
            inverse_penalty=self.inverse_penalty,
            iterations=self.iterations,
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
