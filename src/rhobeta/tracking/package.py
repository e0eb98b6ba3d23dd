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
    from mlflow.exceptions import MlflowException
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

    @property
    def takes(self) -> str:
        """What `predict` takes, in words: MLflow shows it where the signature names no inputs."""
        width, words = self._taken("all")
        shapes = dict.fromkeys([("n", *self.architecture.sample_shape), ("n", width)])
        listed = " or ".join(f"({', '.join(map(str, shape))})" for shape in shapes)
        return (
            f"Takes {words}: arrays, lists, data frames or tensors of shape {listed}; bytes stand"
            " for [0, 1]. The parameter `output` selects"
            f" {', '.join(OUTPUTS)}; `decode` takes codes of {self.architecture.units} units."
        )

    def predict(
        self, model_input: Any, params: dict[str, Any] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """Encode, decode or reconstruct, as the parameter `output` says.

        Takes what `rhobeta.load(...).encode` takes: arrays, lists, data frames and tensors of any
        number type, shape (n, pixels) or (n, height, width); bytes stand for [0, 1].

        - `all`, the default: `code` and `reconstruction` of images.
        - `encode`: `code` (shape: [images, units]) of images.
        - `reconstruct`: `reconstruction` (shape: [images, pixels]) of images.
        - `decode`: `reconstruction` of codes ([images, units]).

        Raises `MlflowException`, in one line, for another output, another shape, and values that
        are no finite numbers.
        """
        import torch

        from rhobeta.data.batches import to_unit_interval
        from rhobeta.model.inputs import input_rows, row_tensor

        output = (params or {}).get("output", "all")
        if output not in OUTPUTS:
            known = ", ".join(f"{name} ({words})" for name, words in OUTPUTS.items())
            raise _refused(f"found the parameter output {output!r}; allowed: {known}")
        width, words = self._taken(output)
        try:
            rows = input_rows(model_input, width)
        except ValueError as error:
            raise _refused(f"output {output} takes {words}: {error}") from None
        x = to_unit_interval(row_tensor(rows))
        with torch.inference_mode():
            if output == "encode":
                return {"code": self._model.encode(x).numpy()}
            if output == "decode":
                return {"reconstruction": self._model.decode(x).numpy()}
            found = self._model(x)
        answer = {"code": found.code.numpy(), "reconstruction": found.reconstruction.numpy()}
        return answer if output == "all" else {"reconstruction": answer["reconstruction"]}

    def _taken(self, output: str) -> tuple[int, str]:
        """The values of a row, and the rows in words."""
        architecture = self.architecture
        if output == "decode":
            return architecture.units, f"codes of {architecture.units} units"
        return architecture.features, describe_shape(architecture.sample_shape)


def _refused(reason: str) -> "MlflowException":
    """The error that Python raises, and that a server answers as status 400."""
    from mlflow.exceptions import MlflowException

    error = MlflowException.invalid_parameter_value(reason)
    # A server writes the whole input into the message; in its answer these entries win.
    error.json_kwargs = {"message": reason}
    return error


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
                "takes": packaged.takes,
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

    found = infer_signature(example, packaged.predict(example), params={"output": "all"})
    # Without inputs: MLflow would hold every input to one type and shape, and refuse others with a
    # dump of the data, before `predict` sees them.
    return ModelSignature(outputs=found.outputs, params=found.params)
