"""The model as MLflow packages it: weights, signature, example, code and requirements.

The package holds the safetensors file, the extensions that were loaded when it was made, and this
program's source, and no pickle: loading it builds the network from the description in the file.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.registry import EXTENSIONS, load_extensions
from rhobeta.tracking.actions import Action
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import CURRENT, Store, environment_kept

_MODEL_FILE = "autoencoder.safetensors"
_EXTENSIONS = "extensions"
_NAME = "model"
_EXAMPLE = "example.npy"
_CODE = "rhobeta"
_REQUIREMENTS = ("mlflow", "numpy", "torch", "safetensors", "pydantic")


class PackagedModel:
    """What `mlflow.pyfunc.load_model` returns predictions from."""

    def __init__(self, model_file: Path) -> None:
        from rhobeta.model.weights import model_from_bytes

        self._model = model_from_bytes(model_file.read_bytes(), name=str(model_file)).model

    def predict(
        self, model_input: NDArray[np.float32], params: dict[str, Any] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Codes and reconstructions of images ([images, pixels] in [0, 1])."""
        import torch

        images = torch.as_tensor(np.asarray(model_input, dtype=np.float32))
        with torch.inference_mode():
            output = self._model(images)
        return {"code": output.code.numpy(), "reconstruction": output.reconstruction.numpy()}


def _load_pyfunc(path: str) -> PackagedModel:
    # MLflow's entry point into a package whose `loader_module` is this module.
    folder = Path(path)
    load_extensions(folder / _EXTENSIONS)
    return PackagedModel(folder / _MODEL_FILE)


def log_model(run: Run, content: bytes, *, example: NDArray[np.float32]) -> None:
    """Package the model, as the `content` of its file, into the run as `model`.

    With it go the extensions that this process has loaded, whose names it may hold. `example` is
    a few images ([images, pixels] in [0, 1]); the signature is had from it.
    """
    from mlflow.models import infer_signature

    import rhobeta

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / _NAME
        (folder / _EXTENSIONS).mkdir(parents=True)
        for name, source in EXTENSIONS.items():
            (folder / _EXTENSIONS / name).write_bytes(source)
        (folder / _MODEL_FILE).write_bytes(content)
        np.save(Path(temporary) / _EXAMPLE, example, allow_pickle=False)
        predictions = PackagedModel(folder / _MODEL_FILE).predict(example)
        data = {
            "signature": infer_signature(example, predictions).to_dict(),
            "requirements": [f"{name}=={version(name).split('+')[0]}" for name in _REQUIREMENTS],
        }
        files = {
            _NAME: folder,
            _EXAMPLE: Path(temporary) / _EXAMPLE,
            # With the code that made it, though it may be another that delivers it.
            _CODE: Path(rhobeta.__file__).parent,
        }
        run.do(Action("model", data, files))


def upload_model(store: Store, run_id: str, action: Action, *, again: bool) -> None:
    """Package the model of the action into the run; `again` where an earlier try was cut off.

    What such a try has left is removed, unless it had come to its end.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature

    experiment = store.client.get_run(run_id).info.experiment_id
    if again and _is_there(store, run_id, experiment):
        return
    with environment_kept(CURRENT):
        # MLflow packages models into the store and the experiment that are current.
        mlflow.set_tracking_uri(store.uri)
        mlflow.set_experiment(experiment_id=experiment)
    Model.log(
        artifact_path=None,
        name=_NAME,
        flavor=mlflow.pyfunc,
        run_id=run_id,
        loader_module=__name__,
        data_path=str(action.files[_NAME]),
        code_paths=[str(action.files[_CODE])],
        signature=ModelSignature.from_dict(action.data["signature"]),
        input_example=np.load(action.files[_EXAMPLE], allow_pickle=False),
        pip_requirements=action.data["requirements"],
    )


def _is_there(store: Store, run_id: str, experiment: str) -> bool:
    from mlflow.entities import LoggedModelStatus

    found = store.client.search_logged_models(
        [experiment], filter_string=f"source_run_id = '{run_id}' AND name = '{_NAME}'"
    )
    whole = [model for model in found if model.status == LoggedModelStatus.READY]
    for model in found:
        if model not in whole:
            store.client.delete_logged_model(model.model_id)
    return bool(whole)
