"""The model as MLflow packages it: weights, signature, example, code and requirements.

The package holds the safetensors file and this program's source, and no pickle: loading it builds
the network from the description in the file.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.tracking.run import Run

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
    return PackagedModel(Path(path))


def log_model(run: Run, content: bytes, *, example: NDArray[np.float32]) -> None:
    """Package the model, as the `content` of its file, into the run as `model`.

    `example` is a few images ([images, pixels] in [0, 1]); the signature is had from it.
    """
    import mlflow.pyfunc
    from mlflow.models import Model, infer_signature

    import rhobeta

    with tempfile.TemporaryDirectory() as folder:
        model_file = Path(folder) / "autoencoder.safetensors"
        model_file.write_bytes(content)
        predictions = PackagedModel(model_file).predict(example)
        Model.log(
            artifact_path=None,
            name="model",
            flavor=mlflow.pyfunc,
            run_id=run.run_id,
            loader_module=__name__,
            data_path=str(model_file),
            code_paths=[str(Path(rhobeta.__file__).parent)],
            signature=infer_signature(example, predictions),
            input_example=example,
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in _REQUIREMENTS],
        )
