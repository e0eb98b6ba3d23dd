"""What `auto` stands for, and which settings do not fit the data."""

from typing import Any

import numpy as np
import pytest

from helpers.fitting import PARAMS, changed
from rhobeta.errors import RhobetaError
from rhobeta.training.auto import without_auto

AUTO = {"model__output_activation": "auto", "training__center": "auto", "training__scale": "auto"}
BYTES = np.zeros((2, 2, 2), np.uint8)
INSIDE = np.array([[0, 0.5], [1, 0.25]], np.float32)
OUTSIDE = np.array([[0, 0.5], [1.5, -0.25]], np.float32)


@pytest.mark.parametrize(
    ("values", "changes", "expected"),
    [
        (BYTES, {}, ("sigmoid", False, False)),
        (INSIDE, {}, ("sigmoid", False, False)),
        (OUTSIDE, {}, ("identity", True, True)),
        (BYTES, {"model__output_activation": "identity"}, ("identity", True, True)),
        (OUTSIDE, {"training__center": False}, ("identity", False, True)),
        (OUTSIDE, {"training__scale": False}, ("identity", True, False)),
    ],
)
def test_auto_stands_for_what_fits_the_data(
    values: Any, changes: dict[str, Any], expected: tuple[str, bool, bool]
) -> None:
    found = without_auto(changed(PARAMS, **(AUTO | changes)), values)
    assert (
        found.model.output_activation,
        found.training.center,
        found.training.scale,
    ) == expected
    assert without_auto(found, values) == found


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        (
            OUTSIDE,
            {"model__output_activation": "sigmoid"},
            r"model\.output_activation: found sigmoid.* lie in \[-0\.25, 1\.5\]; allowed: auto",
        ),
        (OUTSIDE, {"training__pixel_loss": "bce"}, r"training\.pixel_loss: found bce.*: mse"),
        (BYTES, {"training__center": True}, r"training\.center: found true with a sigmoid"),
        (INSIDE, {"training__scale": True}, r"training\.scale: found true with a sigmoid"),
    ],
)
def test_settings_that_do_not_fit_the_data_are_refused(
    values: Any, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RhobetaError, match=message):
        without_auto(changed(PARAMS, **(AUTO | changes)), values)
