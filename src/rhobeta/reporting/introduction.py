"""The first sentence of the report: what kind of code it is, and what asked it to be sparse."""

from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS
from rhobeta.model.loss import ng_beta
from rhobeta.model.weights import SavedModel

_PIXEL_LOSSES = {"mse": "pixel-mean squared error", "bce": "pixel-mean binary cross-entropy"}


def introduction(saved: SavedModel) -> str:
    """One sentence on code, penalty and pixel loss, with their numbers."""
    parameters = saved.description.parameters
    activation, kind = parameters["model.code_activation"], parameters["penalty.kind"]
    code = f"{'An' if activation[0] in 'aeiou' else 'A'} {activation} code"
    if ACTIVATION_SPECS[activation].takes_k:
        code += f" in which the {parameters['topk.k']} largest units speak,"
    beta, rho = parameters["penalty.beta"], parameters["penalty.rho"]
    loss = _PIXEL_LOSSES[parameters["training.pixel_loss"]]
    if kind == "none":
        return f"{code} without a sparsity penalty, trained on the {loss}."
    if kind == "kl" and parameters["training.pixel_loss"] == "mse":
        in_ngs_units = ng_beta(float(beta), saved.model.architecture.pixels)
        return (
            f"{code} held to a mean activation of rho = {rho} by a Kullback-Leibler penalty of"
            f" weight beta = {beta} beside the {loss} (beta\N{PRIME} = {in_ngs_units:.3g} in the"
            " units of Ng's CS294A notes)."
        )
    target = (
        f" held to a mean activation of rho = {rho} by" if PENALTY_SPECS[kind].uses_rho else " with"
    )
    return (
        f"{code}{target} the penalty {kind} ({PENALTY_SPECS[kind].formula}), of weight"
        f" beta = {beta} beside the {loss}."
    )
