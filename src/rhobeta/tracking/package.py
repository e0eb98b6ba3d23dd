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
from rhobeta.tracking.run import Run

_MODEL_FILE = "autoencoder.safetensors"
_EXTENSIONS = "extensions"
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
    import mlflow.pyfunc
    from mlflow.models import Model, infer_signature

    import rhobeta

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        (folder / _EXTENSIONS).mkdir(parents=True)
        for name, source in EXTENSIONS.items():
            (folder / _EXTENSIONS / name).write_bytes(source)
        (folder / _MODEL_FILE).write_bytes(content)
        predictions = PackagedModel(folder / _MODEL_FILE).predict(example)
        Model.log(
            artifact_path=None,
            name="model",
            flavor=mlflow.pyfunc,
            run_id=run.run_id,
            loader_module=__name__,
            data_path=str(folder),
            code_paths=[str(Path(rhobeta.__file__).parent)],
            signature=infer_signature(example, predictions),
            input_example=example,
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in _REQUIREMENTS],
        )
