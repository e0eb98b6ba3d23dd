"""What `auto` stands for: the output's activation, and whether rows are centred and scaled."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from rhobeta.data.rows import RowSource
from rhobeta.data.scaling import range_of
from rhobeta.errors import RhobetaError

if TYPE_CHECKING:
    from rhobeta.config.params import Params

_PATHS = {
    "output_activation": "model.output_activation",
    "pixel_loss": "training.pixel_loss",
    "center": "training.center",
    "scale": "training.scale",
}


class InputSettings(NamedTuple):
    """Output and scaling of a training, without `auto`."""

    output_activation: str
    center: bool
    scale: bool


def input_settings(
    low: float,
    high: float,
    *,
    output_activation: str,
    pixel_loss: str,
    center: bool | str,
    scale: bool | str,
    names: Mapping[str, str] | None = None,
) -> InputSettings:
    """The settings for training rows whose values lie from `low` to `high`.

    "auto" is a sigmoid output where the rows lie in [0, 1], else the identity; and centring and
    scaling where the output is the identity. `names` are the parameters' names in messages.

    Raises `ValueError` for a sigmoid output or bce on rows outside [0, 1], and for centring or
    scaling with a sigmoid output.

    >>> input_settings(
    ...     -2, 3, output_activation="auto", pixel_loss="mse", center="auto", scale=False
    ... )
    InputSettings(output_activation='identity', center=True, scale=False)
    """
    called = {name: name for name in _PATHS} | dict(names or {})
    inside = low >= 0 and high <= 1
    output = output_activation
    if output == "auto":
        output = "sigmoid" if inside else "identity"
    for name, value in (("center", center), ("scale", scale)):
        if value != "auto" and value and output != "identity":
            raise ValueError(
                f"{called[name]}: found true with a {output} output, whose values are in (0, 1);"
                f" allowed: false or auto, or {called['output_activation']} identity"
            )
    lie = f"the training rows lie in [{low:.4g}, {high:.4g}]"
    if pixel_loss == "bce" and output != "sigmoid":
        why = f", since {lie}" if output_activation == "auto" else ""
        raise ValueError(
            f"{called['pixel_loss']}: found bce with an identity output{why}; allowed: mse; bce"
            " needs rows in [0, 1] and a sigmoid output"
        )
    if output == "sigmoid" and not inside:
        raise ValueError(
            f"{called['output_activation']}: found sigmoid, whose values are in (0, 1), but {lie};"
            " allowed: auto or identity"
        )
    free = output == "identity"
    return InputSettings(
        output,
        free if center == "auto" else bool(center),
        free if scale == "auto" else bool(scale),
    )


def without_auto(params: "Params", values: NDArray[Any]) -> "Params":
    """The parameters with what `auto` stands for on the training samples `values`.

    Reads them once, unless they are bytes. Raises `RhobetaError` as `input_settings` raises
    `ValueError`.
    """
    model, training = params.model, params.training
    try:
        output, center, scale = input_settings(
            *range_of(RowSource(values)),
            output_activation=model.output_activation,
            pixel_loss=training.pixel_loss,
            center=training.center,
            scale=training.scale,
            names=_PATHS,
        )
    except ValueError as error:
        raise RhobetaError(f"params.yaml does not fit the data:\n  {error}.") from None
    return params.model_copy(
        update={
            "model": model.model_copy(update={"output_activation": output}),
            "training": training.model_copy(update={"center": center, "scale": scale}),
        }
    )
