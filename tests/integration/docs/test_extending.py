"""docs/extending.md, taken at its word: its code is put into extensions/ and used."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from helpers import QUICK, REPOSITORY, StartAfter, git, write_params
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
}


@pytest.fixture
def extended(paths: Paths, start_after: StartAfter) -> Paths:
    """A workspace that has its splits, and the document's extensions as two files."""
    start_after("preprocess")
    extensions = paths.workspace / "extensions"
    (extensions / "softsign.py").write_text(ACTIVATION)
    (extensions / "hellinger.py").write_text(PENALTY)
    write_params(paths.workspace, QUICK | CHANGES)
    git(paths.workspace, "add", "--all")
    git(paths.workspace, "commit", "--quiet", "--message=extensions")
    return paths


# In a process that has registered nothing, away from the workspace and its extensions.
LOAD = """
import json, sys
import mlflow, numpy as np
from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS

known = [*ACTIVATION_SPECS, *PENALTY_SPECS]
mlflow.set_tracking_uri(sys.argv[1])
(logged,) = mlflow.search_logged_models(
    experiment_ids=[sys.argv[2]], output_format="list"
)
model = mlflow.pyfunc.load_model(logged.model_uri)
predicted = model.predict(np.load(sys.argv[3]))
np.savez(sys.argv[4], **predicted)
print(json.dumps({"before": known, "after": [*ACTIVATION_SPECS, *PENALTY_SPECS]}))
"""


@pytest.mark.slow
def test_a_penalty_and_an_activation_of_ones_own_go_the_whole_way(
    extended: Paths, tmp_path: Path, rhobeta
) -> None:
    outputs = {}
    for stage in ("train", "evaluate", "visualize"):
        done = rhobeta(stage)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs[stage] = done.stdout
    assert "running mean" in outputs["train"]
    # Nothing was written into what DVC hashes but bytecode, which it leaves out.
    added = {path.name for path in (extended.workspace / "extensions").iterdir()}
    assert added - {"__pycache__"} == {"README.md", "softsign.py", "hellinger.py"}

    metrics = json.loads(extended.metrics.read_text())
    assert metrics["test"]["rho_target"] == 0.1
    rows = extended.history.read_text().splitlines()
    penalty = rows[0].split(",").index("train_penalty")
    first, last = (float(row.split(",")[penalty]) for row in (rows[1], rows[-1]))
    assert 0 < last < first
    assert (extended.figures / "filters.png").is_file()
    assert "softsign" in extended.report.read_text()

    address = f"sqlite:///{extended.store}/mlflow.db"
    client = MlflowClient(address)
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert run.data.params["penalty.kind"] == "hellinger"
    assert run.data.params["model.code_activation"] == "softsign"
    assert "hellinger rho=0.1 beta=0.05" in run.info.run_name
    assert run.data.tags["mlflow.source.git.dirty"] == "false"
    _require_the_packaged_model(extended, tmp_path, address, run.info.experiment_id)


def _require_the_packaged_model(paths: Paths, folder: Path, address: str, experiment: str) -> None:
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
    names = json.loads(loaded.stdout.splitlines()[-1])
    assert set(names["after"]) - set(names["before"]) == {"softsign", "hellinger"}

    from safetensors.numpy import load

    weights = load(paths.model.read_bytes())
    z = pixels @ weights["encoder.0.weight"].T + weights["encoder.0.bias"]
    with np.load(folder / "predicted.npz") as predicted:
        np.testing.assert_allclose(predicted["code"], z / (1 + np.abs(z)), rtol=1e-4, atol=1e-5)


def test_names_whose_extension_is_gone_are_refused(extended: Paths, rhobeta) -> None:
    for name in ("softsign", "hellinger"):
        (extended.workspace / "extensions" / f"{name}.py").unlink()
    refused = rhobeta("train")
    assert refused.returncode == 1
    assert "model.code_activation: found 'softsign'" in refused.stderr
    assert "penalty.kind: found 'hellinger'" in refused.stderr


@pytest.mark.usefixtures("extended", "clean_registry")
def test_the_documents_check_passes_on_its_functions() -> None:
    exec(compile(CHECK, "docs/extending.md", "exec"), {})
    from rhobeta.extensions import ACTIVATION_SPECS, PENALTY_SPECS

    assert ACTIVATION_SPECS["softsign"].bounded
    assert PENALTY_SPECS["hellinger"].uses_rho


@pytest.mark.usefixtures("extended", "clean_registry")
def test_the_documents_check_finds_a_wrong_gradient(paths: Paths) -> None:
    wrong = ACTIVATION.replace("log1p(2 * z.abs())", "log1p(z.abs())")
    assert wrong != ACTIVATION
    (paths.workspace / "extensions" / "softsign.py").write_text(wrong)
    with pytest.raises(AssertionError):
        exec(compile(CHECK, "docs/extending.md", "exec"), {})


def test_the_document_names_what_there_is() -> None:
    from rhobeta.extensions import PENALTY_SPECS, PenaltyInput

    table = re.findall(r'^\| `"(\w+)"` \| `function\(', DOCUMENT, re.MULTILINE)
    assert {*table, "nothing"} == set(PenaltyInput.__args__)
    assert {entry.on for entry in PENALTY_SPECS.values()} == set(PenaltyInput.__args__)
