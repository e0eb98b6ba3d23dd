"""`rhobeta.load`: what the pipeline, a run or `SparseAutoencoder.save` made, as an estimator."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.errors import RhobetaError
from rhobeta.estimator.sparse_autoencoder import SparseAutoencoder
from rhobeta.extensions import load_extensions
from rhobeta.model.serialization import SavedModel, model_from_bytes, read_network

if TYPE_CHECKING:
    from rhobeta.tracking.store import Store

_NAMES = {
    "penalty.kind": "penalty",
    "penalty.rho": "rho",
    "penalty.beta": "beta",
    "penalty.target": "target",
    "penalty.target_above": "target_above",
    "penalty.warmup": "warmup",
    "topk.start": "k_start",
    "training.epochs": "max_iter",
    "training.seed": "random_state",
}
_SAME = {
    "model": (
        "code_activation",
        "hidden_activation",
        "output_activation",
        "tied_weights",
        "start",
        "unit_norm_decoder",
    ),
    "topk": ("k", "anneal", "auxk_coef"),
    "training": (
        "batch_size",
        "learning_rate",
        "epsilon",
        "schedule",
        "weight_decay",
        "pixel_loss",
        "center",
        "scale",
        "noise",
        "bias_lift",
    ),
}


def load(source: str | os.PathLike[str]) -> SparseAutoencoder:
    """Open a trained model as a fitted `SparseAutoencoder`.

    Args:
        source: A model file, which may lie anywhere; "models:/rhobeta@champion" or another address
            of MLflow's registry, in the store of the project around the current folder, or outside
            a project in that of MLFLOW_TRACKING_URI; or in a project any word that `rhobeta trace`
            takes, such as the id of a run. All but files need the pipeline's packages:
            `pip install "rhobeta[pipeline]"`.

    Returns:
        The estimator, with the parameters of its training. It has no `history_`, and its `mean_`
        is None.

    Raises:
        RhobetaError: Nothing is found, or it is damaged or no model.
    """
    word = os.fspath(source)
    if Path(word).is_file():
        return from_saved(read_network(Path(word)))
    try:
        import mlflow  # noqa: F401
    except ImportError:
        raise RhobetaError(
            f"There is no model file {word}.\nFor the runs of a project and the registry, install"
            ' the pipeline: pip install "rhobeta[pipeline]".'
        ) from None
    return from_saved(_from_registry(word) if word.startswith("models:/") else _from_project(word))


def from_saved(saved: SavedModel) -> SparseAutoencoder:
    """A fitted estimator of a saved model."""
    parameters, architecture = saved.description.parameters, saved.model.architecture
    given: dict[str, Any] = {
        name: parameters[path] for path, name in _NAMES.items() if path in parameters
    }
    for section, names in _SAME.items():
        given |= {n: parameters[f"{section}.{n}"] for n in names if f"{section}.{n}" in parameters}
    sae = SparseAutoencoder(
        architecture.units, hidden_layer_sizes=tuple(architecture.hidden_sizes[:-1]), **given
    )
    sae.model_, sae.mean_ = saved.model, None
    sae.n_features_in_ = architecture.features
    sae.n_iter_ = sae.max_iter
    sae.best_epoch_, sae.description_ = saved.description.best_epoch, saved.description
    return sae


def _from_project(word: str) -> SavedModel:
    from rhobeta.lineage.models import find_model
    from rhobeta.lineage.project import Project
    from rhobeta.paths import find_paths

    try:
        paths = find_paths()
    except RhobetaError as error:
        raise RhobetaError(
            f"{word} is no model file, and other words that name a model need a project.\n{error}"
        ) from None
    load_extensions(paths.workspace / "extensions")
    return find_model(word, Project(None, paths))


def _from_registry(address: str) -> SavedModel:
    """The model at `models:/NAME@ALIAS`, `models:/NAME/VERSION` or `models:/MODEL_ID`."""
    from mlflow.exceptions import MlflowException

    from rhobeta.tracking.package import PACKAGED_EXTENSIONS, PACKAGED_FILE
    from rhobeta.tracking.redaction import message_of

    store = _store()
    if store is None:
        raise RhobetaError(
            f"{address}: there is no MLflow store here.\nSet MLFLOW_TRACKING_URI, or change into"
            " the project's folder."
        )
    name = address.removeprefix("models:/")
    try:
        if "/" in name or "@" in name:
            name, sign, which = name.rpartition("@" if "@" in name else "/")
            if sign == "@":
                which = store.client.get_model_version_by_alias(name, which).version
            location = store.client.get_model_version_download_uri(name, which)
        else:
            location = store.client.get_logged_model(name).artifact_location
        with tempfile.TemporaryDirectory() as folder:
            found = store.files_at(location).download_artifacts("data/model", folder)
            load_extensions(Path(found, PACKAGED_EXTENSIONS))
            content = Path(found, Path(PACKAGED_FILE).name).read_bytes()
    except (MlflowException, OSError) as error:
        raise RhobetaError(f"{address} cannot be read: {message_of(error)}") from None
    return model_from_bytes(content, name=address)


def _store() -> "Store | None":
    """The project's store, or outside a project that of MLFLOW_TRACKING_URI; None if none is."""
    from mlflow import MlflowClient

    from rhobeta.paths import find_paths
    from rhobeta.tracking.store import Store, find_store

    try:
        paths = find_paths()
    except RhobetaError:
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        return Store(uri, MlflowClient(uri), "") if uri else None
    return find_store(paths)
