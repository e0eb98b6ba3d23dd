"""`rhobeta export --saelens`: the format and equations of SAELens 6, and the numbers of torch."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from rhobeta.cli import main
from rhobeta.errors import RhobetaError
from rhobeta.model.autoencoder import Architecture, Autoencoder
from rhobeta.model.serialization import (
    ModelDescription,
    SavedModel,
    model_from_bytes,
    model_to_bytes,
)
from rhobeta.serving.saelens import export_saelens

PYTHON = os.environ.get("RHOBETA_SAELENS_PYTHON", "")
CODES = [("relu", False, None), ("relu", True, None), ("topk", False, 3), ("topk", False, 99)]
ROWS = np.random.default_rng(1).normal(5, 2, (200, 20)).astype(np.float32)


def saved(
    code: str = "relu", *, tied: bool = False, k: int | None = None, **other: Any
) -> SavedModel:
    """A model that starts, as TopK codes do, centred on the mean of rows far from zero."""
    named = {"hidden_sizes": (12,), "output_activation": "identity"} | other
    architecture = Architecture(
        sample_shape=(20,),
        code_activation=code,
        hidden_activation="relu",
        tied_weights=tied,
        k=k,
        **named,
    )
    model = Autoencoder(architecture, seed=2)
    if code == "topk":
        model.center_on(torch.from_numpy(ROWS.mean(0)))
    described = ModelDescription(architecture, {"penalty.kind": "none"}, "ab" * 32, 4, 0.1)
    return model_from_bytes(model_to_bytes(model, described), name="it")


def by_saelens_equations(folder: Path, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Codes and reconstructions as docs and source of SAELens 6 define them, in numpy."""
    config = json.loads((folder / "cfg.json").read_text())
    weights = load_file(folder / "sae_weights.safetensors")
    assert weights["W_enc"].shape == (config["d_in"], config["d_sae"]) == (20, 12)
    assert weights["W_dec"].shape == (config["d_sae"], config["d_in"])
    assert config["normalize_activations"] == config["reshape_activations"] == "none"
    subtracted = weights["b_dec"] if config["apply_b_dec_to_input"] else 0
    code = np.maximum((x - subtracted) @ weights["W_enc"] + weights["b_enc"], 0)
    if config["architecture"] == "topk":
        least = np.sort(code, axis=1)[:, -config["k"], None]
        code = np.where(code >= least, code, 0)
    return {"code": code, "reconstruction": code @ weights["W_dec"] + weights["b_dec"]}


def assert_same(found: Any, model: SavedModel) -> None:
    with torch.inference_mode():
        expected = model.model(torch.from_numpy(ROWS))
    for name in ("code", "reconstruction"):
        wanted = getattr(expected, name).numpy()
        largest = max(1, float(np.abs(wanted).max()))
        np.testing.assert_allclose(found[name], wanted, rtol=0, atol=1e-5 * largest)


@pytest.mark.parametrize(("code", "tied", "k"), CODES)
def test_saelens_equations_give_the_same_numbers(
    tmp_path: Path, code: str, tied: bool, k: int | None
) -> None:
    model = saved(code, tied=tied, k=k)
    for _ in range(2):
        # A second export takes the place of the first.
        export_saelens(model, folder=tmp_path / "sae")
    assert_same(by_saelens_equations(tmp_path / "sae", ROWS), model)
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text())
    assert config["metadata"]["rhobeta"]["model_sha256"] == model.sha256


LOAD = """
import sys, numpy as np, torch
from sae_lens import SAE
sae = SAE.load_from_disk(sys.argv[1])
with torch.inference_mode():
    x = torch.from_numpy(np.load(sys.argv[2]))
    code = sae.encode(x)
    np.savez(sys.argv[3], code=code, reconstruction=sae.decode(code), both=sae(x))
"""


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="RHOBETA_SAELENS_PYTHON names no Python that has sae-lens")
@pytest.mark.parametrize(("code", "tied", "k"), CODES)
def test_saelens_itself_gives_the_same_numbers(
    tmp_path: Path, code: str, tied: bool, k: int | None
) -> None:
    model = saved(code, tied=tied, k=k)
    export_saelens(model, folder=tmp_path / "sae")
    np.save(tmp_path / "rows.npy", ROWS)
    files = [tmp_path / name for name in ("sae", "rows.npy", "found.npz")]
    subprocess.run([PYTHON, "-c", LOAD, *files], check=True, timeout=300)
    found = np.load(files[-1])
    assert_same(found, model)
    np.testing.assert_array_equal(found["both"], found["reconstruction"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "sigmoid"}, "its code is sigmoid; allowed: relu, topk"),
        ({"hidden_sizes": (16, 12)}, r"has the layers \[16, 12\]; allowed: one"),
        ({"output_activation": "sigmoid"}, "its output is sigmoid; allowed: identity"),
    ],
)
def test_a_model_that_saelens_does_not_have_is_refused(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RhobetaError, match=reason):
        export_saelens(saved(**change), folder=tmp_path / "sae")
    assert not any(tmp_path.iterdir())


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RhobetaError, match="holds something else"):
        export_saelens(saved(), folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_export_command_outside_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(saved().content)
    assert main(["export", "--saelens", "--model", "model.safetensors"]) == 0
    assert capsys.readouterr().out == "saelens\n"
    assert (tmp_path / "saelens" / "cfg.json").is_file()
