"""A training has the same bits with any number of threads."""

from typing import Any

import numpy as np
import pytest
import torch

from helpers.fitting import fitted
from rhobeta.data.samples import Samples

CASES: dict[str, dict[str, Any]] = {
    "kl": {"model__hidden_sizes": [200]},
    "tanh, deep": {"model__hidden_sizes": [150, 90], "model__code_activation": "tanh"},
    "topk": {
        "model__hidden_sizes": [300],
        "model__code_activation": "topk",
        "penalty__kind": "none",
        "model__unit_norm_decoder": True,
    },
    "cross-entropy": {"training__pixel_loss": "bce", "penalty__kind": "l1_weights"},
}


@pytest.mark.parametrize("name", CASES)
def test_weights_and_history_are_the_same(digits: Samples, name: str) -> None:
    train, validation = digits.take(np.arange(401)), digits.take(np.arange(401, 600))
    found = []
    for threads in (1, 2, 3, 4):
        torch.set_num_threads(threads)
        # Mini-batches of 193 images: shares of threads that are no whole number of vectors.
        changes = CASES[name] | {"training__batch_size": 193, "training__epochs": 2}
        found.append(fitted(train, validation, **changes))
    for other in found[1:]:
        assert other.history_csv == found[0].history_csv
        for key, value in found[0].model.state_dict().items():
            assert torch.equal(other.model.state_dict()[key], value), key
