"""docs/extending.md: its code, put into extensions/, works in every stage and in the package."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from helpers import QUICK, REPOSITORY, git, write_params
from rhobeta.cli import main
from rhobeta.extensions import PENALTY_SPECS, PenaltyInput
from rhobeta.paths import Paths

DOCUMENT = (REPOSITORY / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)
ACTIVATION, PENALTY, CHECK = BLOCKS
CHANGES = {
    "model.code_activation": "softsign",
    "penalty.kind": "hellinger",
    "penalty.beta": 0.05,
    # rho times the batch of 64 is 6.4: the running mean takes part.
    "penalty.rho": 0.1,
    "evaluate.tasks": [],
}

pytestmark = pytest.mark.usefixtures("clean_registry")


@pytest.fixture
def extended(paths: Paths) -> Paths:
    """A workspace with the document's extensions as two files."""
    extensions = paths.workspace / "extensions"
    (extensions / "softsign.py").write_text(ACTIVATION)
    (extensions / "hellinger.py").write_text(PENALTY)
    write_params(paths.workspace, QUICK | CHANGES)
    git(paths.workspace, "add", "--all")
    git(paths.workspace, "commit", "--quiet", "--message=extensions")
    return paths


# In a process that has registered nothing, away from the workspace and its extensions.
LOAD = """
import sys
import mlflow, numpy as np
from rhobeta.extensions import ACTIVATION_SPECS

assert "softsign" not in ACTIVATION_SPECS
mlflow.set_tracking_uri(sys.argv[1])
(logged,) = mlflow.search_logged_models(
    experiment_ids=[sys.argv[2]], output_format="list"
)
model = mlflow.pyfunc.load_model(logged.model_uri)
np.savez(sys.argv[4], **model.predict(np.load(sys.argv[3])))
"""


@pytest.mark.slow
def test_extension_works_in_every_stage_and_in_the_package(
    extended: Paths, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for stage in ("download", "preprocess", "train", "evaluate", "visualize"):
        assert main([stage]) == 0, capsys.readouterr().err
    assert "running mean" in capsys.readouterr().out
    assert json.loads(extended.details.read_text())["test"]["rho_target"] == 0.1
    assert "softsign" in extended.report.read_text()
    # DVC ignores bytecode; a stage writes nothing else into what DVC hashes.
    added = {path.name for path in (extended.workspace / "extensions").iterdir()}
    assert added - {"__pycache__"} == {"README.md", "softsign.py", "hellinger.py"}

    address = f"sqlite:///{extended.store}/mlflow.db"
    client = MlflowClient(address)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.data.params["penalty.kind"] == "hellinger"
    assert "hellinger rho=0.1 beta=0.05" in run.info.run_name
    _check_package(extended, tmp_path, address, run.info.experiment_id)


def _check_package(paths: Paths, folder: Path, address: str, experiment: str) -> None:
    pixels = np.random.default_rng(0).random((5, 784), dtype=np.float32)
    np.save(folder / "pixels.npy", pixels)
    files = [str(folder / name) for name in ("pixels.npy", "predicted.npz")]
    loaded = subprocess.run(
        [sys.executable, "-c", LOAD, address, experiment, *files],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert loaded.returncode == 0, loaded.stderr

    from safetensors.numpy import load

    weights = load(paths.model.read_bytes())
    z = pixels @ weights["encoder.0.weight"].T + weights["encoder.0.bias"]
    with np.load(folder / "predicted.npz") as predicted:
        np.testing.assert_allclose(predicted["code"], z / (1 + np.abs(z)), rtol=1e-4, atol=1e-5)


def test_names_of_a_removed_extension_are_refused(
    extended: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("softsign", "hellinger"):
        (extended.workspace / "extensions" / f"{name}.py").unlink()
    assert main(["train"]) == 1
    error = capsys.readouterr().err
    assert "model.code_activation: found 'softsign'" in error
    assert "penalty.kind: found 'hellinger'" in error


@pytest.mark.usefixtures("extended")
def test_the_documents_check_passes_on_its_functions() -> None:
    exec(compile(CHECK, "docs/extending.md", "exec"), {})


def test_the_documents_check_finds_a_wrong_gradient(extended: Paths) -> None:
    wrong = ACTIVATION.replace("log1p(2 * z.abs())", "log1p(z.abs())")
    assert wrong != ACTIVATION
    (extended.workspace / "extensions" / "softsign.py").write_text(wrong)
    with pytest.raises(AssertionError):
        exec(compile(CHECK, "docs/extending.md", "exec"), {})


def test_the_documents_table_lists_every_input_of_a_penalty() -> None:
    table = re.findall(r'^\| `"(\w+)"` \| `function\(', DOCUMENT, re.MULTILINE)
    assert {*table, "nothing"} == set(PenaltyInput.__args__)
    assert {spec.on for spec in PENALTY_SPECS.values()} == set(PenaltyInput.__args__)
