"""The model file of a project, checked against the parameters and the data of a training."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rhobeta.config.renamed import ADDED
from rhobeta.config.sections import (
    DataParams,
    ModelParams,
    ParamSection,
    PenaltyParams,
    TopKParams,
    TrainingParams,
)
from rhobeta.data.samples import describe_shape
from rhobeta.data.splits import Manifest
from rhobeta.errors import RhobetaError
from rhobeta.model.serialization import SavedModel, read_network, require_penalty

_SECTIONS: dict[str, type[ParamSection]] = {
    "data": DataParams,
    "model": ModelParams,
    "penalty": PenaltyParams,
    "topk": TopKParams,
    "training": TrainingParams,
}


def read_model(path: Path) -> SavedModel:
    """Read and verify the model file, with the parameters of its training.

    Raises `RhobetaError` where it is missing or damaged, its penalty is not registered, or the
    parameters in it are not those of a training: names and pages are made of them.
    """
    saved = read_network(path)
    require_penalty(saved.description.parameters["penalty.kind"], str(path))
    sections: dict[str, dict[str, Any]] = {name: {} for name in _SECTIONS}
    for dotted, value in (ADDED | saved.description.parameters).items():
        section, _, name = dotted.partition(".")
        sections.setdefault(section, {})[name] = value
    try:
        for section, values in sections.items():
            _SECTIONS[section].model_validate(values)
    except (KeyError, ValidationError):
        raise RhobetaError(
            f"{path} holds other parameters ({section}) than a training has.\n"
            "`dvc checkout` brings back the one that dvc.lock names; `dvc repro` trains it again."
        ) from None
    return saved


def require_same_data(saved: SavedModel, manifest: Manifest, path: Path) -> None:
    """Refuse to measure a model on other data than it was trained with."""
    shape = saved.model.architecture.sample_shape
    if shape != manifest.sample_shape:
        raise RhobetaError(
            f"{path} is a model of {describe_shape(shape)}, but data/processed has"
            f" {describe_shape(manifest.sample_shape)}.\n"
            "Run `dvc repro`, which trains a model of the present data."
        )
    if saved.description.data_sha256 != manifest.sha256:
        raise RhobetaError(
            f"{path} was trained on data {saved.description.data_sha256[:16]}..., but"
            f" data/processed is {manifest.sha256[:16]}...: test images of the one may be training"
            " images of the other.\nRun `dvc repro`, which brings data and model together."
        )
