"""From parameters to what training takes: the network, the loss, and how it is minimised."""

from typing import Any

from rhobeta.config.params import Params, flatten
from rhobeta.config.search import SEARCHED
from rhobeta.data.splits import Manifest
from rhobeta.extensions import ACTIVATION_SPECS
from rhobeta.model.autoencoder import Architecture
from rhobeta.model.loss import SparseLoss
from rhobeta.training.devices import Machine
from rhobeta.training.settings import Optimization, TopK


def hparams_of(params: Params, manifest: Manifest) -> dict[str, Any]:
    """All parameters that a model depends on, by dotted path; those of data as they were drawn."""
    hparams = dict(manifest.parameters)
    for section in SEARCHED:
        hparams |= flatten(getattr(params, section), f"{section}.")
    return hparams


def machine_of(params: Params) -> Machine:
    """The devices that the parameters ask for."""
    runtime = params.runtime
    return Machine(runtime.accelerator, runtime.devices, runtime.nodes, runtime.strategy)


def architecture_of(params: Params, image_shape: tuple[int, int]) -> Architecture:
    """The network that the parameters ask for, for images of `image_shape`."""
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


def objective_of(params: Params) -> SparseLoss:
    """What the parameters ask training to minimise."""
    return SparseLoss(
        kind=params.penalty.kind,
        code_activation=params.model.code_activation,
        rho=params.penalty.rho,
        beta=params.penalty.beta,
        pixel_loss=params.training.pixel_loss,
    )


def optimization_of(params: Params) -> Optimization:
    """How the parameters ask for the weights to be found."""
    topk, training = params.topk, params.training
    takes_k = ACTIVATION_SPECS[params.model.code_activation].takes_k
    return Optimization(
        epochs=training.epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        epsilon=training.epsilon,
        schedule=training.schedule,
        weight_decay=training.weight_decay,
        noise=training.noise,
        unit_norm_decoder=params.model.unit_norm_decoder,
        keep=training.keep,
        precision=training.precision,
        topk=TopK(topk.start, topk.anneal, topk.auxk_coef) if takes_k else None,
    )
