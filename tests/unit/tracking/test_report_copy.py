"""The copy of the report in a run says where the run came from."""

from pathlib import Path

from helpers import NewStore
from helpers.pages import Page
from rhobeta.paths import Paths
from rhobeta.tracking.report_copy import PLACE, with_provenance
from rhobeta.tracking.run import new_run


def test_copy_names_run_code_times_and_every_parameter(tmp_path: Path, new_store: NewStore) -> None:
    store = new_store(Paths(tmp_path, tmp_path), "tests")
    tags = {
        "mlflow.source.git.commit": "c" * 40,
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.dirty": "true",
        "dvc.exp_name": "<b>softer</b>",
        "rhobeta.command": "git checkout cccccccccccc && dvc repro",
        "rhobeta.device": "cpu",
        "rhobeta.versions": "Python 3.11.7",
    }
    with new_run(store, name="a run", tags=tags) as run:
        run.log_params({"penalty.rho": 0.1, "evaluate.seed": 3})
        run.log_metrics({"seconds/train": 12.34, "test/mse": 0.5})
        run.log_dataset(
            name="mnist-train", digest="d" * 64, context="training", profile="{}", source="{}"
        )
    found = run.read()
    assert found is not None
    page = Page(with_provenance(f"<body>before {PLACE} after</body>", found))
    rows = dict(page.rows)
    assert rows["run"] == f"a run ({run.run_id})"
    assert rows["commit"] == f"{'c' * 40} (main, with uncommitted changes)"
    assert rows["DVC experiment"] == "<b>softer</b>"
    assert rows["repeat it"] == tags["rhobeta.command"]
    assert rows["data, mnist-train"] == f"SHA-256 {'d' * 64}"
    assert rows["duration"] == "train 12.3 s"
    assert (rows["penalty.rho"], rows["evaluate.seed"]) == ("0.1", "3")
    assert {"started", "device", "versions"} <= rows.keys()
    assert page.text.startswith("before ")
    assert page.text.endswith(" after")
