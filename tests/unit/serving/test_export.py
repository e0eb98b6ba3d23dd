"""`rhobeta export --onnx`: the numbers of torch, whatever the batch, and nothing else in it."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from helpers import REPOSITORY
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.errors import RhobetaError
from rhobeta.extensions import code_activation
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import (
    ModelDescription,
    SavedModel,
    model_from_bytes,
    model_to_bytes,
)
from rhobeta.paths import Paths
from rhobeta.serving import export as command
from rhobeta.serving.export import deviation, export_onnx, onnx_bytes

PARAMETERS = {"penalty.kind": "none", "training.seed": 3}


def saved(code: str, *, tied: bool = False) -> SavedModel:
    """A model of two layers whose biases are not zero, as those of new networks are."""
    k = 5 if code == "topk" else None
    architecture = Architecture((28, 28), (24, 16), code, "tanh", "sigmoid", tied, k)
    model = Autoencoder(architecture, seed=2)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if name.endswith("bias"):
                values.normal_(generator=generator)
    described = ModelDescription(architecture, PARAMETERS, "ab" * 32, 4, 0.1)
    return model_from_bytes(model_to_bytes(model, described), name="it")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "tied"), [("sigmoid", False), ("tanh", True), ("relu", False), ("topk", False)]
)
def test_onnx_gives_what_torch_gives_for_batches_of_any_size(
    code: str, tied: bool, test_digits: Samples
) -> None:
    model = saved(code, tied=tied)
    content = onnx_bytes(model)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert (given.name, given.type, given.shape[1]) == ("images", "tensor(float)", 784)
    assert [output.name for output in session.get_outputs()] == ["code", "reconstruction"]
    pixels = pixels_of(test_digits.values)
    for size in (1, 7, 200):
        found = session.run(None, {"images": pixels[:size]})
        with torch.inference_mode():
            expected = model.model(torch.from_numpy(pixels[:size]))
        np.testing.assert_allclose(found[0], expected.code.numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(found[1], expected.reconstruction.numpy(), rtol=0, atol=1e-5)
    if code == "topk":
        assert (np.count_nonzero(found[0], axis=1) <= 5).all()
    measured = deviation(content, model.model, pixels)
    assert measured.small
    assert (measured.images, measured.ties) == (200, 0)
    # Another model's numbers are seen to be others.
    other = Autoencoder(model.model.architecture, seed=9)
    assert not deviation(content, other, pixels).small


@pytest.mark.slow
def test_the_file_names_its_model_and_no_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, model = tmp_path / "to" / "model.onnx", saved("sigmoid")
    export_onnx(model, file=file, paths=Paths(tmp_path, tmp_path))
    told = capsys.readouterr().out
    assert "largest difference from torch on 256 random images (data/processed has none" in told
    content = file.read_bytes()
    assert onnx_bytes(model) == content
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    notes = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(notes["rhobeta.parameters"]) == PARAMETERS
    assert notes["rhobeta.model_sha256"] == model.sha256
    assert notes["rhobeta.data_sha256"] == "ab" * 32
    assert json.loads(notes["rhobeta.sample_shape"]) == [28, 28]
    assert proto.producer_name == "rhobeta"
    for part in (str(REPOSITORY), "site-packages", ".py", "torch"):
        assert part.encode() not in content


@pytest.mark.parametrize("name", ["model.safetensors", "model", "model.onnx"])
def test_a_name_that_is_none_of_an_onnx_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.onnx").mkdir()
    with pytest.raises(RhobetaError, match=r"must end in \.onnx"):
        export_onnx(saved("sigmoid"), file=tmp_path / name)


def test_other_numbers_than_torch_s_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "onnx_bytes", lambda _: b"")
    far = command.Deviation(
        {"code": 2e-5, "reconstruction": 1e-7}, {"code": 1e-5, "reconstruction": 1e-5}, 256, 0
    )
    monkeypatch.setattr(command, "deviation", lambda *_: far)
    file = tmp_path / "model.onnx"
    with pytest.raises(RhobetaError, match=r"code 2\.0e-05 \(allowed 1e-05\)"):
        export_onnx(saved("sigmoid"), file=file)
    assert not file.exists()


@pytest.mark.parametrize(
    ("code", "pixel", "small"),
    [(1e-5, 1e-5, True), (1.1e-5, 0, False), (0, 1.1e-5, False), (float("nan"), 0, False)],
)
def test_what_counts_as_equal(code: float, pixel: float, small: bool) -> None:
    allowed = {"code": 1e-5, "reconstruction": 1e-5}
    found = {"code": code, "reconstruction": pixel}
    assert command.Deviation(found, allowed, 1, 0).small == small


@pytest.mark.slow
@pytest.mark.usefixtures("clean_registry")
def test_a_code_that_onnx_does_not_know_is_explained() -> None:
    @code_activation("branching", low=0)
    def branching(z: torch.Tensor) -> torch.Tensor:
        return z.relu() if z.sum().item() > 0 else z.abs()

    with pytest.raises(RhobetaError, match=r"its branching code cannot be written as ONNX"):
        onnx_bytes(saved("branching"))


def test_images_with_ties_among_the_k_are_left_out() -> None:
    model = saved("topk").model
    z = torch.arange(16.0).repeat(3, 1)
    # Of 16 units, five are active: the fifth and sixth largest are units 11 and 10.
    z[1, 10] = 11 - 1e-6
    z[2, 9] = 10 - 1e-6
    assert command._ties(model, z).tolist() == [False, True, False]
    assert not command._ties(saved("sigmoid").model, z).any()
