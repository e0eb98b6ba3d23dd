"""`rhobeta export --onnx`: the same model as ONNX, checked against torch before it is written."""

import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import rhobeta
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import kind_of
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Autoencoder
from rhobeta.model.serialization import SavedModel
from rhobeta.paths import Paths
from rhobeta.utils.files import write_bytes

if TYPE_CHECKING:
    import onnx

TOLERANCE = 1e-5
"""Largest difference from torch that is allowed, times the largest value where that exceeds 1."""

_CHECKED_IMAGES = 256
_OUTPUTS = ("code", "reconstruction")


@dataclass(frozen=True)
class Deviation:
    """How far onnxruntime is from torch."""

    largest: dict[str, float]
    """Largest absolute difference of `code` and of `reconstruction`."""
    allowed: dict[str, float]
    images: int
    ties: int
    """Images left out, since their k-th and next largest pre-activations are nearly equal."""

    @property
    def small(self) -> bool:
        """Whether both are within the tolerance; NaN is not."""
        return all(self.largest[name] <= self.allowed[name] for name in _OUTPUTS)

    def __str__(self) -> str:
        """The differences in words."""
        return ", ".join(
            f"{name} {self.largest[name]:.1e} (allowed {self.allowed[name]:.0e})"
            for name in _OUTPUTS
        )


def export_onnx(saved: SavedModel, *, file: Path, paths: Paths | None = None) -> None:
    """Write the model as ONNX: input `images`, outputs `code` and `reconstruction`.

    The first dimension of each is the batch, of any size. The file's metadata hold the model's
    parameters and the digests of model and data. `paths` are those of a project, whose test images
    check the file. Raises `RhobetaError`, and writes nothing, where ONNX cannot express the code,
    or onnxruntime differs from torch by more than `TOLERANCE`.
    """
    if file.suffix != ".onnx" or file.is_dir():
        raise RhobetaError(f"{file} is not the name of an ONNX file: it must end in .onnx.")
    content = onnx_bytes(saved)
    images, what = _check_images(saved, paths)
    found = deviation(content, saved.model, images)
    if not found.small:
        raise RhobetaError(
            f"the model as ONNX differs from torch on {found.images} {what}: {found}. Nothing was"
            " written.\nIf the code's activation is your own, write it with torch's plain"
            " functions."
        )
    write_bytes(file, content)
    print(f"largest difference from torch on {found.images} {what}: {found}")
    if found.ties:
        print(f"{found.ties} images with ties among the {saved.model.architecture.k} were left out")
    print(file)


def onnx_bytes(saved: SavedModel) -> bytes:
    """The model as an ONNX file; the same model gives the same bytes.

    Raises `RhobetaError` where its code uses functions that ONNX does not have.
    """
    pixels = saved.model.architecture.features
    # Two images: from one, the exporter would infer a fixed batch size.
    example = torch.rand(2, pixels, generator=torch.Generator().manual_seed(0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                _CodeAndReconstruction(saved.model).eval(),
                (example,),
                dynamo=True,
                input_names=["images"],
                output_names=list(_OUTPUTS),
                dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
                verbose=False,
            )
        return bytes(_plain(program.model_proto, saved).SerializeToString(deterministic=True))
    except Exception as error:
        # The exporter raises a dozen kinds of exception, from modules that are not public.
        code = saved.model.architecture.code_activation
        reason = " ".join(str(error).split())[:500]
        raise RhobetaError(
            f"the model with its {code} code cannot be written as ONNX: {type(error).__name__}:"
            f" {reason}\nAn activation of your own must consist of torch functions that ONNX has,"
            " without Python branches on values."
        ) from None


def deviation(content: bytes, model: Autoencoder, images: NDArray[np.float32]) -> Deviation:
    """Compare the outputs of the ONNX file with the model's, on images ([images, pixels]).

    They run in batches of 1, 7 and the rest, to show that the batch size is free.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pieces = [piece for piece in np.split(images, [1, 8]) if len(piece)]
    ran = [session.run(list(_OUTPUTS), {"images": piece}) for piece in pieces]
    with torch.inference_mode():
        output = model(torch.from_numpy(images))
    clear = ~_ties(model, output.pre_activation)
    largest, allowed = {}, {}
    for number, name in enumerate(_OUTPUTS):
        found = np.concatenate([piece[number] for piece in ran])[clear]
        expected = getattr(output, name).numpy()[clear]
        largest[name] = float(np.abs(found - expected).max(initial=0))
        allowed[name] = TOLERANCE * max(1.0, float(np.abs(expected).max(initial=0)))
    return Deviation(largest, allowed, images=len(images), ties=int((~clear).sum()))


def _ties(model: Autoencoder, z: Tensor) -> NDArray[np.bool_]:
    """Images where rounding decides which unit is the last of a topk code's."""
    k = model.architecture.k
    if k is None or k >= z.shape[1]:
        return np.zeros(len(z), dtype=np.bool_)
    values = torch.topk(z, k + 1, dim=1).values
    near: NDArray[np.bool_] = (values[:, -2] - values[:, -1] < TOLERANCE).numpy()
    return near


class _CodeAndReconstruction(nn.Module):
    """The two outputs that others use."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        output = self.model(images)
        return output.code, output.reconstruction


def _plain(proto: "onnx.ModelProto", saved: SavedModel) -> "onnx.ModelProto":
    """Without the exporter's notes, which hold paths of this machine; with ours."""
    _strip(proto)
    proto.producer_name, proto.producer_version = "rhobeta", rhobeta.__version__
    description = saved.description
    notes = {
        "rhobeta.best_epoch": str(description.best_epoch),
        "rhobeta.data_sha256": description.data_sha256,
        "rhobeta.sample_shape": json.dumps(list(description.architecture.sample_shape)),
        "rhobeta.model_sha256": saved.sha256,
        "rhobeta.parameters": json.dumps(description.parameters, sort_keys=True),
    }
    for key, value in notes.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    return proto


def _strip(message: Any) -> None:
    for name in ("metadata_props", "doc_string"):
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in value if field.is_repeated else [value]:
                _strip(part)


def _check_images(saved: SavedModel, paths: Paths | None) -> tuple[NDArray[np.float32], str]:
    shape = saved.model.architecture.sample_shape
    if paths is not None and (paths.splits / "manifest.json").is_file():
        manifest = read_manifest(paths.splits)
        if manifest.sample_shape == shape:
            images = read_split(paths.splits, "test", manifest).values[:_CHECKED_IMAGES]
            return pixels_of(images), f"test {kind_of(shape)}"
    drawn = np.random.default_rng(0).random((_CHECKED_IMAGES, math.prod(shape)), np.float32)
    return drawn, f"random {kind_of(shape)} (data/processed has none of this size)"
