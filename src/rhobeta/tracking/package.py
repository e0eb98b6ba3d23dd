"""The model as MLflow packages it: weights, signature, example, code and requirements.

The package holds the safetensors file, the extensions that were loaded when it was made, and this
program's source, and no pickle: loading it builds the network from the description in the file.
Its parameter `output` says what is asked for.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.extensions import EXTENSIONS, load_extensions
from rhobeta.tracking.actions import Action
from rhobeta.tracking.environment import environment_kept
from rhobeta.tracking.run import Run
from rhobeta.tracking.store import CURRENT, Store

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel
    from mlflow.models import ModelSignature

OUTPUTS = {
    "all": "code and reconstruction of images",
    "encode": "code of images",
    "reconstruct": "reconstruction of images",
    "decode": "reconstruction of codes",
}
"""What the parameter `output` may ask for; `all` where it is not given."""

PACKAGED_FILE = "data/model/autoencoder.safetensors"
"""The model's own file in the package."""

_MODEL_FILE = "autoencoder.safetensors"
_EXTENSIONS = "extensions"
_NAME = "model"
_EXAMPLE = "example.npy"
_CODE = "rhobeta"
_REQUIREMENTS = ("mlflow", "numpy", "torch", "safetensors", "pydantic")


class PackagedModel:
    """What `mlflow.pyfunc.load_model` returns predictions from."""

    def __init__(self, model_file: Path) -> None:
        from rhobeta.model.serialization import model_from_bytes

        saved = model_from_bytes(model_file.read_bytes(), name=str(model_file))
        self.architecture = saved.model.architecture
        self.sha256 = saved.sha256
        self._model = saved.model

    def predict(
        self, model_input: NDArray[np.float32], params: dict[str, Any] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """What the parameter `output` asks for, by name.

        - `all`, the default: `code` and `reconstruction` of images ([images, pixels] in [0, 1]).
        - `encode`: `code` (shape: [images, units]) of images.
        - `reconstruct`: `reconstruction` (shape: [images, pixels]) of images.
        - `decode`: `reconstruction` of codes ([images, units]).

        Raises `MlflowException`, which a server answers with as status 400, for another name,
        rows of another width, and values that are not finite.
        """
        import torch

        output = (params or {}).get("output", "all")
        rows = torch.as_tensor(self._checked(np.asarray(model_input, dtype=np.float32), output))
        with torch.inference_mode():
            if output == "encode":
                return {"code": self._model.encode(rows).numpy()}
            if output == "decode":
                return {"reconstruction": self._model.decode(rows).numpy()}
            found = self._model(rows)
        answer = {"code": found.code.numpy(), "reconstruction": found.reconstruction.numpy()}
        return answer if output == "all" else {"reconstruction": answer["reconstruction"]}

    def _checked(self, rows: NDArray[np.float32], output: str) -> NDArray[np.float32]:
        from mlflow.exceptions import MlflowException

        if output not in OUTPUTS:
            known = ", ".join(f"{name} ({words})" for name, words in OUTPUTS.items())
            raise MlflowException.invalid_parameter_value(
                f"found the parameter output {output!r}; allowed: {known}"
            )
        height, width = self.architecture.image_shape
        what, expected = f"images of {height} x {width} pixels", self.architecture.pixels
        if output == "decode":
            what, expected = "codes", self.architecture.units
        if rows.ndim != 2 or rows.shape[1] != expected:
            raise MlflowException.invalid_parameter_value(
                f"found an input of shape {rows.shape}; output {output} takes {what}, one a row:"
                f" shape (any number, {expected})"
            )
        if not np.isfinite(rows).all():
            raise MlflowException.invalid_parameter_value(
                "found NaN or infinity in the input; expected finite numbers"
            )
        return rows


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
    import rhobeta

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / _NAME
        (folder / _EXTENSIONS).mkdir(parents=True)
        for name, source in EXTENSIONS.items():
            (folder / _EXTENSIONS / name).write_bytes(source)
        (folder / _MODEL_FILE).write_bytes(content)
        np.save(Path(temporary) / _EXAMPLE, example, allow_pickle=False)
        packaged = PackagedModel(folder / _MODEL_FILE)
        data = {
            "signature": _signature(packaged, example).to_dict(),
            "metadata": {
                "model_sha256": packaged.sha256,
                "image_shape": list(packaged.architecture.image_shape),
                "units": packaged.architecture.units,
            },
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
        metadata=action.data["metadata"],
        pip_requirements=action.data["requirements"],
    )


def logged_model(store: Store, run_id: str, experiment: str) -> "LoggedModel | None":
    """The package of a run whose upload came to its end; None where there is none.

    The run itself may lead to others: MLflow enters a model there before it uploads it, and what a
    try that was cut off has left stays.
    """
    from mlflow.entities import LoggedModelStatus

    found = _models_of(store, run_id, experiment)
    return next((model for model in found if model.status == LoggedModelStatus.READY), None)


def _models_of(store: Store, run_id: str, experiment: str) -> "list[LoggedModel]":
    named = f"source_run_id = '{run_id}' AND name = '{_NAME}'"
    return list(store.client.search_logged_models([experiment], filter_string=named))


def _is_there(store: Store, run_id: str, experiment: str) -> bool:
    whole = logged_model(store, run_id, experiment)
    for model in _models_of(store, run_id, experiment):
        if whole is None or model.model_id != whole.model_id:
            store.client.delete_logged_model(model.model_id)
    return whole is not None


def _signature(packaged: PackagedModel, example: NDArray[np.float32]) -> "ModelSignature":
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import Schema, TensorSpec

    found = infer_signature(example, packaged.predict(example), params={"output": "all"})
    # MLflow holds every input against one schema, but codes are not as wide as images: any width
    # is let through, and `predict` checks it by what is asked for.
    inputs = Schema([TensorSpec(np.dtype(np.float32), (-1, -1))])
    return ModelSignature(inputs=inputs, outputs=found.outputs, params=found.params)
