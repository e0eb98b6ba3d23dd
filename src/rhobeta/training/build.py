"""From parameters to the network and the loss that training takes."""

from typing import Any

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEARCHED
from rhobeta.config.sections import FitParams
from rhobeta.data.splits import Manifest
from rhobeta.extensions import ACTIVATION_SPECS
from rhobeta.model.autoencoder import Architecture
from rhobeta.model.loss import SparseLoss


def hparams_of(params: Params, manifest: Manifest) -> dict[str, Any]:
    """The parameters that a model depends on, by dotted path; those of data as they were drawn."""
    hparams = dict(manifest.parameters)
    for section in SEARCHED:
        hparams |= flatten(getattr(params, section), f"{section}.")
    return hparams


def architecture_of(params: FitParams, image_shape: tuple[int, int]) -> Architecture:
    """The network that the parameters ask for, for images of `image_shape` (height, width)."""
    model = params.model
    return Architecture(
        image_shape=image_shape,
        hidden_sizes=tuple(model.hidden_sizes),
        code_activation=model.code_activation,
        hidden_activation=model.hidden_activation,
        output_activation=model.output_activation,
        tied_weights=model.tied_weights,
        k=params.topk.k if ACTIVATION_SPECS[model.code_activation].takes_k else None,
    )


def loss_of(params: FitParams) -> SparseLoss:
    """The loss that the parameters ask training to minimise."""
    return SparseLoss(
        kind=params.penalty.kind,
        code_activation=params.model.code_activation,
        rho=params.penalty.rho,
        beta=params.penalty.beta,
        pixel_loss=params.training.pixel_loss,
    )
