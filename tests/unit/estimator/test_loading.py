"""`rhobeta.load`: files, runs and the registry, in a project and outside."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import rhobeta
from helpers import StartAfter
from rhobeta import SparseAutoencoder
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.store import open_store


@pytest.mark.parametrize(("shift", "factor"), [(5.0, 1.0), (0.0, 10.0)])
def test_saved_model_gives_the_same_codes(tmp_path: Path, shift: float, factor: float) -> None:
    rows = np.random.default_rng(0).normal(shift, factor, (100, 20))
    sae = SparseAutoencoder(n_components=6, max_iter=3, random_state=0).fit(rows)
    sae.save(tmp_path / "model.safetensors")
    found = rhobeta.load(tmp_path / "model.safetensors")
    assert np.array_equal(found.transform(rows), sae.transform(rows))
    assert np.array_equal(found.reconstruct(rows), sae.reconstruct(rows))
    assert_allclose(found.score(rows), sae.score(rows), atol=1e-6)
    different = {"random_state", "output_activation", "center", "scale"}
    ours = {k: v for k, v in sae.get_params().items() if k not in different}
    assert {k: v for k, v in found.get_params().items() if k in ours} | {"k_start": None} == ours
    found.fit(rows)


def test_pipeline_model_is_loaded_by_every_name(
    paths: Paths, start_after: StartAfter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start_after("train")
    expected = rhobeta.load(paths.model).model_.state_dict()
    store = open_store(paths, "tests")
    (run,) = store.client.search_runs(
        [e.experiment_id for e in store.client.search_experiments()], order_by=["start_time ASC"]
    )
    (logged,) = run.outputs.model_outputs
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)
    store.client.create_registered_model("digits")
    source = f"models:/{logged.model_id}"
    made = store.client.create_model_version("digits", source, model_id=logged.model_id)
    store.client.set_registered_model_alias("digits", "champion", made.version)
    names = [run.info.run_id, "models:/digits@champion", "models:/digits/1", source]
    for name in names:
        found = rhobeta.load(name).model_.state_dict()
        assert all((found[key] == value).all() for key, value in expected.items()), name
    with pytest.raises(RhobetaError, match="models:/digits@none cannot be read"):
        rhobeta.load("models:/digits@none")
    # Outside a project.
    monkeypatch.chdir(tmp_path)
    assert rhobeta.load("models:/digits@champion").n_features_in_ == 784
    with pytest.raises(RhobetaError, match="need a project"):
        rhobeta.load(run.info.run_id)


@pytest.mark.slow
def test_estimator_needs_no_package_of_the_pipeline() -> None:
    pipeline = ("pydantic", "pytorch_lightning", "mlflow", "dvc", "tqdm", "filelock", "matplotlib")
    code = (
        f"import sys; sys.modules |= dict.fromkeys({pipeline})\n"
        "from rhobeta import SparseAutoencoder, load\n"
        "import numpy as np\n"
        "x = np.random.default_rng(0).normal(size=(20, 3))\n"
        "SparseAutoencoder(2, max_iter=1, verbose=True).fit(x).score(x)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_package_is_imported_without_its_dependencies() -> None:
    code = "import rhobeta, sys; assert not {'torch', 'numpy', 'sklearn'} & set(sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
