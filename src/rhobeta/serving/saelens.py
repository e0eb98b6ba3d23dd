"""`rhobeta export --saelens`: a ReLU or TopK model as `cfg.json` and weights for SAELens.

SAELens 6 reads it with `SAE.load_from_disk(folder)` and computes, for rows x,

    a = f(x W_enc + b_enc),  x_hat = a W_dec + b_dec,

with f = ReLU ("standard") or the k largest of ReLU ("topk"), as this program does. Its option
`apply_b_dec_to_input`, which subtracts b_dec from x first, is off: b_enc is ours already.
"""

import json
from pathlib import Path
from typing import Any, cast

from torch import nn

from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Architecture
from rhobeta.model.serialization import SavedModel
from rhobeta.utils.files import atomic_folder

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
_KINDS = {"relu": "standard", "topk": "topk"}
# Without a version, SAELens takes the file for one of its releases before 6.
_FORMAT_VERSION = "6.54.0"


def export_saelens(saved: SavedModel, *, folder: Path) -> None:
    """Write the model into `folder`, whole or not at all.

    Raises `RhobetaError`, and writes nothing, where SAELens has no such model, or the folder holds
    other files.
    """
    _require_expressible(saved.model.architecture)
    if folder.exists() and not (
        folder.is_dir() and {path.name for path in folder.iterdir()} <= {CONFIG_FILE, WEIGHTS_FILE}
    ):
        raise RhobetaError(
            f"{folder} is there and holds something else than an exported model; expected a new or"
            " empty folder. Name another with --saelens FOLDER."
        )
    config = json.dumps(saelens_config(saved), indent=2, sort_keys=True)
    with atomic_folder(folder) as partial:
        (partial / CONFIG_FILE).write_text(f"{config}\n")
        (partial / WEIGHTS_FILE).write_bytes(_weights(saved))
    print(folder)


def saelens_config(saved: SavedModel) -> dict[str, Any]:
    """What `cfg.json` holds; under `metadata` what the model is and what made it."""
    architecture, description = saved.model.architecture, saved.description
    config: dict[str, Any] = {
        "architecture": _KINDS[architecture.code_activation],
        "d_in": architecture.features,
        "d_sae": architecture.units,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": _FORMAT_VERSION,
            "sae_lens_training_version": None,
            "rhobeta": {
                "best_epoch": description.best_epoch,
                "data_sha256": description.data_sha256,
                "model_sha256": saved.sha256,
                "parameters": description.parameters,
                "sample_shape": list(architecture.sample_shape),
            },
        },
    }
    if architecture.k is not None:
        # torch refuses a k above the number of units, which here means a plain ReLU.
        config["k"] = min(architecture.k, architecture.units)
        config["rescale_acts_by_decoder_norm"] = False
    return config


def _weights(saved: SavedModel) -> bytes:
    from safetensors.torch import save

    encoder = cast(nn.Linear, saved.model.encoder[0])
    # Of tied weights a `TiedLinear`, which has a weight and a bias too.
    decoder = cast(nn.Linear, saved.model.decoder[0])
    tensors = {
        "W_enc": encoder.weight.T,
        "b_enc": encoder.bias,
        "W_dec": decoder.weight.T,
        "b_dec": decoder.bias,
    }
    # Clones, since safetensors refuses tensors that share memory, as tied weights do.
    return save({name: values.detach().contiguous().clone() for name, values in tensors.items()})


def _require_expressible(architecture: Architecture) -> None:
    reasons = []
    if architecture.code_activation not in _KINDS:
        reasons.append(
            f"its code is {architecture.code_activation}; allowed: {', '.join(_KINDS)}"
            " (model.code_activation)"
        )
    if len(architecture.hidden_sizes) > 1:
        reasons.append(
            f"its encoder has the layers {list(architecture.hidden_sizes)}; allowed: one"
            " (model.hidden_sizes)"
        )
    if architecture.output_activation != "identity":
        reasons.append(
            f"its output is {architecture.output_activation}; allowed: identity"
            " (model.output_activation)"
        )
    if reasons:
        listed = "".join(f"\n  {reason}" for reason in reasons)
        raise RhobetaError(
            f"SAELens has no model like this one:{listed}\nNothing was written. Train one that"
            " SAELens has, such as the preset k-sparse, or use `rhobeta export --onnx`."
        )
