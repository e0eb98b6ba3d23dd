"""The model as MLflow packages it: weights, signature, example, code and requirements.

The package holds the safetensors file, the extensions that were loaded when it was made, and this
program's source, and no pickle: loading it builds the network from the description in the file.
Its parameter `output` selects what `predict` returns.
"""

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.samples import describe_shape
from rhobeta.extensions import EXTENSIONS, load_extensions
from rhobeta.tracking.run import Run

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

OUTPUTS = {
    "all": "code and reconstruction of images",
    "encode": "code of images",
    "reconstruct": "reconstruction of images",
    "decode": "reconstruction of codes",
}
"""Values of the parameter `output`; the default is `all`."""

PACKAGED_FILE = "data/model/autoencoder.safetensors"
"""The model's own file in the package."""

_MODEL_FILE = "autoencoder.safetensors"
_FOLDER = "model"
PACKAGED_EXTENSIONS = "extensions"
"""Its folder beside that file."""
_REQUIREMENTS = ("mlflow", "numpy", "torch", "safetensors", "pydantic")


class PackagedModel:
    """The model as `mlflow.pyfunc.load_model` returns it."""

    def __init__(self, model_file: Path) -> None:
        from rhobeta.model.serialization import model_from_bytes

        saved = model_from_bytes(model_file.read_bytes(), name=str(model_file))
        self.architecture = saved.model.architecture
        self.sha256 = saved.sha256
        self._model = saved.model

    def predict(
        self, model_input: NDArray[np.float32], params: dict[str, Any] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Encode, decode or reconstruct, as the parameter `output` says.

        - `all`, the default: `code` and `reconstruction` of images ([images, pixels] in [0, 1]).
        - `encode`: `code` (shape: [images, units]) of images.
        - `reconstruct`: `reconstruction` (shape: [images, pixels]) of images.
        - `decode`: `reconstruction` of codes ([images, units]).

        Raises `MlflowException`, which a server answers as status 400, for another output, another
        number of columns, and values that are not finite.
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
        what = describe_shape(self.architecture.sample_shape)
        expected = self.architecture.features
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
    load_extensions(folder / PACKAGED_EXTENSIONS)
    return PackagedModel(folder / _MODEL_FILE)


def log_model(run: Run, content: bytes, *, example: NDArray[np.float32]) -> None:
    """Package the model, as the `content` of its file, into the run, named after it.

    The package holds the extensions that this process has loaded, since the model may use them.
    `example` is a few images ([images, pixels] in [0, 1]), from which the signature is inferred.
    """
    import mlflow.pyfunc

    with tempfile.TemporaryDirectory() as temporary:
        data, folder = Path(temporary, "data"), Path(temporary, _FOLDER)
        (data / _FOLDER / PACKAGED_EXTENSIONS).mkdir(parents=True)
        for name, source in EXTENSIONS.items():
            (data / _FOLDER / PACKAGED_EXTENSIONS / name).write_bytes(source)
        (data / _FOLDER / _MODEL_FILE).write_bytes(content)
        packaged = PackagedModel(data / _FOLDER / _MODEL_FILE)
        mlflow.pyfunc.save_model(
            folder,
            loader_module=__name__,
            data_path=str(data / _FOLDER),
            code_paths=[str(Path(__file__).parents[1])],
            signature=_signature(packaged, example),
            input_example=example,
            metadata={
                "model_sha256": packaged.sha256,
                "sample_shape": list(packaged.architecture.sample_shape),
                "units": packaged.architecture.units,
            },
            pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in _REQUIREMENTS],
        )
        for cache in list(folder.rglob("__pycache__")):
            shutil.rmtree(cache)
        run.log_model(folder)


def _signature(packaged: PackagedModel, example: NDArray[np.float32]) -> "ModelSignature":
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import Schema, TensorSpec

    found = infer_signature(example, packaged.predict(example), params={"output": "all"})
    # MLflow checks every input against one schema, but codes are not as wide as images: `predict`
    # checks the width.
    inputs = Schema([TensorSpec(np.dtype(np.float32), (-1, -1))])
    return ModelSignature(inputs=inputs, outputs=found.outputs, params=found.params)
