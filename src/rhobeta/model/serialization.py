"""The model file: safetensors, with a description of the model in its header.

Loading needs no other file and runs no code. The bytes hold a checksum of themselves, so a flipped
bit is an error and never another model.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from rhobeta.config.renamed import current_parameters
from rhobeta.errors import RhobetaError
from rhobeta.extensions import PENALTY_SPECS
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.header import FORMAT, MALFORMED, described_in
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum, verify_checksum
from rhobeta.utils.files import require_file, sha256_of_bytes


@dataclass(frozen=True)
class ModelDescription:
    """What a model is, and what made it."""

    architecture: Architecture
    parameters: dict[str, Any]
    """The parameters of data, model, penalty, topk and training, by dotted path."""
    data_sha256: str
    """Digest of the data set that it was trained on."""
    best_epoch: int
    """The epoch, from 1, whose weights these are."""
    best_loss: float
    """The loss of that epoch: of validation, or of training where there is no validation split."""
    sparsity: dict[str, float] = field(default_factory=dict)
    """How active the code is, on the validation split, or on the train split where there is none.

    `validation/rho_hat_mean` or `train/rho_hat_mean`, and so on: mean activation, L0, dead units;
    and `beta`, if it changed in training. Empty in files of earlier versions.
    """


@dataclass(frozen=True)
class SavedModel:
    """A model rebuilt from its bytes."""

    model: Autoencoder
    """In evaluation mode, on the CPU."""
    description: ModelDescription
    content: bytes
    """The bytes that it was rebuilt from."""

    @property
    def sha256(self) -> str:
        """The model's identity: the digest of its bytes."""
        return sha256_of_bytes(self.content)

    @property
    def rho(self) -> float | None:
        """The mean activation that the penalty asked for; None for a penalty without, or a target.

        Raises `RhobetaError` where the penalty is not registered.
        """
        parameters = self.description.parameters
        require_penalty(parameters["penalty.kind"], "the model")
        uses_rho = PENALTY_SPECS[parameters["penalty.kind"]].uses_rho
        has_target = parameters.get("penalty.target") is not None
        return float(parameters["penalty.rho"]) if uses_rho and not has_target else None


def model_to_bytes(model: Autoencoder, description: ModelDescription) -> bytes:
    """Serialise weights and description, with a checksum; the same model gives the same bytes."""
    from safetensors.torch import save

    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    # One entry only: safetensors does not keep the order of several.
    # Its name sorts the seal before all text that could look like one.
    described = {"_seal": EMPTY_CHECKSUM, "format": FORMAT, **dataclasses.asdict(description)}
    return add_checksum(save(tensors, metadata={"rhobeta": json.dumps(described, sort_keys=True)}))


def model_from_bytes(content: bytes, *, name: str) -> SavedModel:
    """Rebuild a model from what `model_to_bytes` made; `name` is for messages.

    The penalty that it was trained with need not be registered, since the network does not use it.
    Raises `RhobetaError` where the bytes are damaged, not a model of this program, or hold other
    tensors than the described architecture has.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        verify_checksum(content)
        tensors = load(content)
        description = _description(content)
    except (SafetensorError, RhobetaError, *MALFORMED) as error:
        raise RhobetaError(
            f"{name} is not a model of rhobeta, or is damaged ({error}).\n"
            "`dvc checkout` brings back the one that dvc.lock names; `dvc repro` trains it again."
        ) from None
    _require_shapes(tensors, description.architecture, name)
    for key, values in tensors.items():
        if values.dtype != torch.float32 or not torch.isfinite(values).all():
            raise RhobetaError(
                f"{name} is damaged: {key} is not made of finite 32-bit numbers.\n"
                "`dvc checkout` brings back the one that dvc.lock names; `dvc repro` trains it"
                " again."
            )
    model = Autoencoder(description.architecture)
    model.load_state_dict(tensors)
    return SavedModel(model.eval(), description, content)


def _description(content: bytes) -> ModelDescription:
    described = described_in(content)
    described["architecture"] = Architecture.from_dict(described["architecture"])
    described.setdefault("sparsity", {})
    kinds = {"parameters": dict, "data_sha256": str, "best_epoch": int, "best_loss": float}
    for name, kind in (kinds | {"sparsity": dict}).items():
        if not isinstance(described[name], kind):
            raise TypeError(f"its {name} is {described[name]!r}, expected {kind.__name__}")
    described["parameters"] = current_parameters(described["parameters"])
    penalty = described["parameters"].get("penalty.kind")
    if not isinstance(penalty, str):
        raise TypeError(f"its penalty is {penalty!r}, expected a name")
    if penalty in PENALTY_SPECS and PENALTY_SPECS[penalty].uses_rho:
        asked = described["parameters"]
        float(asked["penalty.rho" if asked.get("penalty.target") is None else "penalty.target"])
    return ModelDescription(**described)


def require_penalty(kind: str, name: str) -> None:
    """Raise `RhobetaError` where a penalty is not registered; `name` is the model's."""
    if kind not in PENALTY_SPECS:
        raise RhobetaError(
            f"{name} was trained with the penalty {kind!r}; known: {', '.join(PENALTY_SPECS)}. One"
            " of your own is registered by its file in extensions/."
        )


def _require_shapes(tensors: dict[str, Any], architecture: Architecture, name: str) -> None:
    # Compared before anything is built, so that a damaged file cannot claim gigabytes.
    expected = {
        f"{part}.{index}.{kind}": shape
        for part, sizes in (
            ("encoder", architecture.layer_sizes),
            ("decoder", architecture.layer_sizes[::-1]),
        )
        for index, (n_in, n_out) in enumerate(pairwise(sizes))
        for kind, shape in (("weight", (n_out, n_in)), ("bias", (n_out,)))
        if not (architecture.tied_weights and part == "decoder" and kind == "weight")
    }
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    if found != expected:
        different = sorted(
            key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key)
        )
        raise RhobetaError(
            f"{name} holds the weights of another architecture: its description says"
            f" {'-'.join(map(str, architecture.layer_sizes))}, but {different[0]} is"
            f" {found.get(different[0], 'absent')}, expected {expected.get(different[0], 'none')}."
        )


def read_network(path: Path) -> SavedModel:
    """Read and verify the model file; its parameters are unchecked, and its penalty may be unknown.

    Raises `RhobetaError` where it is missing or damaged.
    """
    content = require_file(path, made_by="rhobeta train").read_bytes()
    return model_from_bytes(content, name=str(path))
