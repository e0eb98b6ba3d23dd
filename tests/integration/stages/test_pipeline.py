"""The real pipeline: `dvc repro` and `dvc exp run` in a temporary clone, on real digits."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, STAGES, git
from helpers.clones import Clone, copy_of
from rhobeta.config.params import Params

PACKAGE = REPOSITORY / "src" / "rhobeta"


@pytest.fixture(scope="module")
def clone(reproduced: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The working tree's files in a repository of their own, after `dvc repro`."""
    return copy_of(reproduced, tmp_path_factory.mktemp("pipeline") / "project")


_FIT = """
from rhobeta.utils.cpu import fix_instructions

fix_instructions()
import hashlib
from pathlib import Path
from rhobeta import SparseAutoencoder, load
from rhobeta.data.splits import read_manifest, read_split
from rhobeta.utils.threads import use_threads

use_threads(1)
folder = Path("data/processed")
splits = [read_split(folder, name, read_manifest(folder)) for name in ("train", "validation")]
train, validation = (split.values.reshape(len(split), -1) for split in splits)
saved = load("models/autoencoder.safetensors")
for sae in (saved, SparseAutoencoder(**saved.get_params()).fit(train, X_val=validation)):
    weights = sorted(sae.model_.state_dict().items())
    digest = hashlib.sha256(b"".join(values.numpy().tobytes() for _, values in weights))
    print(digest.hexdigest())
"""


@pytest.mark.slow
def test_estimator_trains_the_weights_of_dvc_repro(clone: Clone) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _FIT],
        cwd=clone.folder,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    pipeline, estimator = done.stdout.split()
    assert estimator == pipeline


@pytest.mark.slow
def test_repro_makes_every_output_and_one_run(clone: Clone) -> None:
    metrics = clone.metrics()
    assert (clone.folder / "reports" / "report.html").is_file()
    (run,) = clone.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["penalty.rho"] == "0.2"
    assert run.data.params["evaluate.probe_penalty"] == "[0.01, 0.1, 1.0, 10.0]"
    assert run.data.params["visualize.dpi"] == "50"
    assert run.data.metrics["test/mse"] == metrics["test"]["mse"]
    assert run.data.metrics["test/l0_at_0.1"] == metrics["test"]["l0_at_0.1"]
    assert run.data.metrics["few_labels/code_at_5"] == metrics["few_labels"]["code_at_5"]
    contexts = {
        tag.value
        for data_set in run.inputs.dataset_inputs
        for tag in data_set.tags
        if tag.key == "mlflow.data.context"
    }
    assert contexts == {"training", "validation", "evaluation"}


@pytest.mark.slow
def test_second_repro_runs_nothing(clone: Clone) -> None:
    done = clone.run("dvc", "repro")
    assert "Data and pipelines are up to date" in done.stdout
    assert git(clone.folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_declares_the_parameters_a_stage_reads(stage: str) -> None:
    declared = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]
    read = set(_parameters_in(PACKAGE / "pipeline" / f"{stage}.py"))
    if stage == "train":  # `fit` takes all parameters
        read |= {name for path in PACKAGE.glob("training/*.py") for name in _parameters_in(path)}
    if stage == "preprocess":  # test_data_baselines compares its fields with dvc.yaml
        read -= {"evaluate"}
    assert read
    undeclared = {
        name
        for name in read
        if not any(f"{name}.".startswith(f"{group}.") for group in declared["params"])
    }
    assert {name for name in undeclared if name.split(".")[0] != "runtime"} == set()


def _parameters_in(path: Path) -> Iterator[str]:
    """The parameters that the code in `path` reads from `params`, by dotted path."""
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Attribute):
            first, *names = ast.unparse(node).split(".")
            if first == "params" and names[0] in Params.model_fields:
                yield ".".join(names[:2])
                continue
        nodes += ast.iter_child_nodes(node)


def _outdated(clone: Clone) -> set[str]:
    """The stages that would run again."""
    return set(json.loads(clone.run("dvc", "status", "--json").stdout))


def _change(clone: Clone, package: str) -> None:
    folder = clone.folder / "src" / "rhobeta" / package
    with (folder / "__init__.py").open("a") as file:
        file.write("# edited\n")
    (folder / "added.py").write_text('"""Added."""\n')


@pytest.mark.slow
def test_change_outside_the_science_leaves_training_current(clone: Clone) -> None:
    try:
        for package in ("tracking", "tuning", "lineage", "cli"):
            _change(clone, package)
        assert _outdated(clone) == set()
        _change(clone, "reporting")
        assert _outdated(clone) == {"visualize"}
        _change(clone, "model")
        assert _outdated(clone) == {"train", "evaluate", "visualize"}
    finally:
        git(clone.folder, "checkout", "--", "src")
        git(clone.folder, "clean", "--quiet", "--force", "src")
    assert _outdated(clone) == set()


@pytest.mark.slow
def test_machine_search_and_gate_settings_run_nothing(
    clone: Clone,
) -> None:
    searched = {"penalty.rho": {"low": 0.1, "high": 0.2}}
    gate = {"registry__name": "other", "registry__thresholds": ["test/mse <= 0.1"]}
    search = {"tune__trials": 7, "tune__choose": "best fvu", "tune__space": searched}
    clone.change(runtime__threads=2, **search, **gate)
    assert clone.stages_run_by("dvc", "repro") == []
    clone.change(visualize__dpi=60)
    assert clone.stages_run_by("dvc", "repro") == ["visualize"]
    assert len(clone.runs()) == 1
    assert clone.runs()[0].data.tags["visualize.dpi"] == "60"
    clone.change()
    assert clone.stages_run_by("dvc", "repro") == []
    assert git(clone.folder, "status", "--porcelain") == ""


@pytest.mark.slow
def test_experiment_leaves_a_second_run_to_compare(
    reproduced: Clone, softer: Clone, tmp_path: Path
) -> None:
    before = reproduced.metrics()["test"]["mse"]
    clone = copy_of(softer, tmp_path / "project")
    first, second = clone.runs()
    assert first.data.params["penalty.rho"] == "0.2"
    assert second.data.params["penalty.rho"] == "0.3"
    assert second.data.tags["dvc.exp_name"] == "softer"
    assert second.info.run_name.startswith("softer: ")
    assert first.data.tags["rhobeta.model_sha256"] != second.data.tags["rhobeta.model_sha256"]
    assert first.data.tags["rhobeta.data_sha256"] == second.data.tags["rhobeta.data_sha256"]

    difference = json.loads(clone.run("dvc", "metrics", "diff", "--json").stdout)
    change = difference["reports/metrics.json"]["test/mse"]
    assert change["old"] == before
    assert change["new"] == clone.metrics()["test"]["mse"]
    parameters = json.loads(clone.run("dvc", "params", "diff", "--json").stdout)
    assert list(parameters["params.yaml"]) == ["penalty.rho"]
    assert parameters["params.yaml"]["penalty.rho"]["new"] == 0.3
    # As a table they fit on a screen.
    assert len(difference["reports/metrics.json"]) <= 10
    # The changed columns fit on 120 characters, with a longer name and beta beside rho.
    shown = clone.run("dvc", "exp", "show", "--only-changed").stdout
    assert "softer" in shown
    header = next(line for line in shown.splitlines() if "Experiment" in line)
    found = [header.index(f"test/{name} ") for name in ("mse", "fvu", "l0_at_0.1", "probe")]
    end = header.index("penalty.rho") + len("penalty.rho   penalty.beta") + len("loath-doek"[6:])
    assert found == sorted(found)
    assert end <= 120
    clone.run("dvc", "plots", "show", "--out", "plots_page")
    page = (clone.folder / "plots_page" / "index.html").read_text()
    assert "Loss by epoch" in page
    assert "validation_mse" in page


@pytest.mark.slow
def test_preset_runs_as_an_experiment_of_its_name(clone: Clone) -> None:
    before = {run.info.run_id for run in clone.runs()}
    words = ("rhobeta", "run", "--preset", "blog-plain-deep")
    short = ("-S", "training.epochs=2", "train")
    assert clone.stages_run_by(*words, *short) == ["train"]
    (run,) = [run for run in clone.runs() if run.info.run_id not in before]
    assert run.data.tags["dvc.exp_name"] == "blog-plain-deep"
    assert run.data.params["model.hidden_sizes"] == "[128, 64, 32]"
    assert run.data.params["penalty.kind"] == "none"
    # What stands behind the preset has the last word; what it leaves alone stays.
    assert run.data.params["training.epochs"] == "2"
    assert run.data.params["data.name"] == "own"
    assert run.info.run_name == "blog-plain-deep: no penalty, own 128-64-32 relu"
    # Once more, and nothing is trained again: the stages are DVC's.
    assert clone.stages_run_by(*words, *short) == []
    shown = clone.run("dvc", "exp", "list", "--name-only").stdout.split()
    assert {"blog-plain-deep", "blog-plain-deep-2"} <= set(shown)
