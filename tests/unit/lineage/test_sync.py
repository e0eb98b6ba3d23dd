"""The model in the workspace gets its run: found, completed, or restored, from what is its own."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers import StartAfter
from rhobeta.cli import main
from rhobeta.paths import Paths
from rhobeta.tracking.pending import keep_values
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store, pending_folder
from rhobeta.tracking.tags import EVALUATION_TAG, MODEL_MD5_TAG, MODEL_TAG, REPORT_TAG
from rhobeta.tracking.upload import Values
from rhobeta.utils.files import md5_of_bytes, sha256_of_file

MODEL = "models/autoencoder.safetensors"


@pytest.fixture
def elsewhere(
    tmp_path: Path, blank_database: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """Makes another store, which is empty, the present one."""

    def change() -> None:
        shutil.copyfile(blank_database, tmp_path / "elsewhere.db")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'elsewhere.db'}")

    return change


def _runs(paths: Paths) -> list[Any]:
    store = open_store(paths, "rhobeta")
    return list(store.client.search_runs([store.experiment_id]))


def _artifacts(paths: Paths, run: Any) -> set[str]:
    client = open_store(paths, "rhobeta").client
    return {file.path for file in client.list_artifacts(run.info.run_id)}


def _write_lock(paths: Paths, *, seed: int) -> None:
    """A dvc.lock that says that evaluate made the metrics that lie there."""

    def entry(path: str) -> dict[str, str]:
        return {"path": path, "md5": md5_of_bytes((paths.workspace / path).read_bytes())}

    evaluate = {
        "cmd": "rhobeta evaluate",
        "deps": [entry(MODEL)],
        "params": {"params.yaml": {"evaluate": {"seed": seed}}},
        "outs": [entry("reports/details.json")],
    }
    yaml = YAML()
    yaml.default_flow_style = False
    with (paths.workspace / "dvc.lock").open("w") as file:
        yaml.dump({"schema": "2.0", "stages": {"evaluate": evaluate}}, file)


def test_sync_without_a_model(paths: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync"]) == 1
    assert "`dvc repro`" in capsys.readouterr().err
    assert not paths.store.exists()


def test_sync_of_a_complete_run(
    start_after: StartAfter, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("visualize")
    (before,) = _runs(paths)
    capsys.readouterr()
    assert main(["sync"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert before.info.run_id in line
    (after,) = _runs(paths)
    assert after.to_dictionary() == before.to_dictionary()
    assert main(["sync", "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_sync_restores_a_run_in_an_empty_store(
    start_after: StartAfter,
    paths: Paths,
    elsewhere: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    start_after("visualize")
    (original,) = _runs(paths)
    elsewhere()
    _write_lock(paths, seed=17)
    assert main(["sync"]) == 0
    (restored,) = _runs(paths)
    assert "restored" in capsys.readouterr().out
    assert restored.data.tags["rhobeta.restored"] == "true"
    assert "mlflow.source.git.commit" not in restored.data.tags
    for tag in ("rhobeta.model_sha256", MODEL_MD5_TAG, EVALUATION_TAG, REPORT_TAG):
        assert restored.data.tags[tag] == original.data.tags[tag]
    measured = {k: v for k, v in original.data.metrics.items() if not k.startswith("seconds/")}
    assert restored.data.metrics == pytest.approx(measured, rel=1e-5)
    # The parameters of the evaluation are those that dvc.lock says made it, not params.yaml's.
    evaluated = {k: v for k, v in restored.data.params.items() if k.startswith("evaluate.")}
    assert evaluated == {"evaluate.seed": "17"}
    hparams = {k: v for k, v in original.data.params.items() if k.startswith("training.")}
    assert hparams.items() <= restored.data.params.items()
    assert {"figures", "report.html", "details.json", "history.csv"} <= _artifacts(paths, restored)
    assert restored.outputs.model_outputs
    assert main(["sync"]) == 0
    assert [run.info.run_id for run in _runs(paths)] == [restored.info.run_id]


def test_sync_adds_what_a_run_lacks(
    start_after: StartAfter,
    paths: Paths,
    elsewhere: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    start_after("train")
    (trained,) = _runs(paths)
    elsewhere()
    assert main(["evaluate"]) == 0
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    capsys.readouterr()
    assert main(["sync"]) == 0
    assert "added the evaluation to its run" in capsys.readouterr().out
    (completed,) = _runs(paths)
    assert completed.info.run_id == trained.info.run_id
    assert "rhobeta.restored" not in completed.data.tags
    assert completed.data.metrics.items() >= trained.data.metrics.items()
    assert "test/mse" in completed.data.metrics
    # No dvc.lock says with which parameters it was evaluated.
    assert not any(name.startswith("evaluate.") for name in completed.data.params)


def test_sync_ignores_files_of_another_model(
    start_after: StartAfter, paths: Paths, elsewhere: Callable[[], None]
) -> None:
    start_after("visualize")
    shutil.copytree(paths.workspace / "reports", paths.workspace / "other")
    before = paths.model.read_bytes()
    params = paths.params.read_text()
    paths.params.write_text(params.replace("rho: 0.2", "rho: 0.25"))
    assert main(["train"]) == 0
    assert paths.model.read_bytes() != before
    shutil.copytree(paths.workspace / "other", paths.workspace / "reports", dirs_exist_ok=True)
    elsewhere()
    assert main(["sync"]) == 0
    (restored,) = _runs(paths)
    assert restored.data.params["penalty.rho"] == "0.25"
    assert restored.data.metrics == {}
    assert _artifacts(paths, restored) & {"figures", "report.html", "details.json"} == set()
    assert EVALUATION_TAG not in restored.data.tags
    assert REPORT_TAG not in restored.data.tags


def test_sync_of_several_runs_of_a_model(
    start_after: StartAfter, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("visualize")
    (first,) = _runs(paths)
    store = open_store(paths, "rhobeta")
    twin = {k: first.data.tags[k] for k in (MODEL_TAG, MODEL_MD5_TAG)}
    with pytest.raises(KeyboardInterrupt), new_run(store, name="cut", tags=twin):
        raise KeyboardInterrupt
    assert main(["sync"]) == 0
    assert f"its run {first.info.run_id}; 1 more claim it" in capsys.readouterr().out
    with new_run(store, name="twin", tags=twin) as second:
        pass
    assert main(["sync"]) == 0
    said = capsys.readouterr().out
    assert f"the evaluation, the figures to its run {second.run_id}; 2 more" in said
    assert store.client.get_run(first.info.run_id).to_dictionary() == first.to_dictionary()


def test_sync_of_a_model_whose_run_is_pending_elsewhere(
    start_after: StartAfter, paths: Paths, elsewhere: Callable[[], None], capsys: Any
) -> None:
    start_after("train")
    elsewhere()
    server = replace(
        open_store(paths, "rhobeta"), uri="http://server:5000", pending=pending_folder(paths)
    )
    keep_values(server, "waiting", Values(tags={MODEL_TAG: sha256_of_file(paths.model)}))
    assert main(["sync"]) == 1
    said = capsys.readouterr().err
    assert "The run of this model is waiting" in said
    assert "It belongs to http://server:5000" in said
    assert "set MLFLOW_TRACKING_URI to it" in said
    assert _runs(paths) == []


def test_sync_with_a_run_pending_for_another_store(
    start_after: StartAfter, paths: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    start_after("train")
    server = replace(
        open_store(paths, "rhobeta"), uri="http://server:5000", pending=pending_folder(paths)
    )
    keep_values(server, "waiting", Values())
    assert main(["sync"]) == 0
    said = capsys.readouterr().out
    assert "note: 1 runs in " in said
    assert "MLFLOW_TRACKING_URI=http://server:5000 completes them" in said
