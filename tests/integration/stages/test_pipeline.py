"""The real pipeline: `dvc repro` and `dvc exp run` in a temporary clone, on real digits."""

import json
import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, STAGES, git
from helpers.clones import Clone, make_clone


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The working tree's files in a repository of their own, after `dvc repro`."""
    record = tmp_path_factory.mktemp("record")
    shutil.copy(Path(__file__).parent / "recorder.py", record / "sitecustomize.py")
    clone = make_clone(tmp_path_factory.mktemp("pipeline") / "project", record)
    assert clone.stages_run_by("dvc", "repro") == list(STAGES)
    git(clone.folder, "add", ".")
    git(clone.folder, "commit", "--quiet", "--message=reproduced")
    return clone


def test_repro_makes_every_output_and_one_run_with_all_of_it(clone: Clone) -> None:
    metrics = clone.metrics()
    assert (clone.folder / "reports" / "report.html").is_file()
    (run,) = clone.runs()
    assert run.info.status == "FINISHED"
    assert run.data.params["penalty.rho"] == "0.2"
    assert run.data.params["evaluate.probe_iterations"] == "20"
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


def test_a_second_repro_runs_nothing(clone: Clone) -> None:
    done = clone.run("dvc", "repro")
    assert "Data and pipelines are up to date" in done.stdout
    assert git(clone.folder, "status", "--porcelain") == ""


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_yaml_lists_exactly_what_a_stage_imports_and_reads(clone: Clone, stage: str) -> None:
    record = json.loads((clone.record / f"{stage}.json").read_text())
    declared = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]
    code = [Path(dep) for dep in declared["deps"] if dep.startswith("src/")]

    files = set()
    for module in record["modules"]:
        path = Path("src", *module.split("."))
        file = path / "__init__.py" if (REPOSITORY / path).is_dir() else path.with_suffix(".py")
        # A package's own file is empty but for its docstring.
        if file.name != "__init__.py":
            files.add(file)
    unlisted = {f for f in files if not any(f == dep or dep in f.parents for dep in code)}
    unused = {dep for dep in code if not any(f == dep or dep in f.parents for f in files)}
    assert not unlisted, f"dvc.yaml does not list {sorted(map(str, unlisted))} for {stage}"
    assert not unused, f"dvc.yaml lists {sorted(map(str, unused))} for {stage}, which is not used"

    groups = declared["params"]
    assert record["parameters"], "the recorder saw no parameter being read"
    unread = [
        name
        for name in record["parameters"]
        if not any(name == group or name.startswith(f"{group}.") for group in groups)
    ]
    assert not unread, f"dvc.yaml does not list the parameters {unread} for {stage}"


def test_package_files_that_no_stage_lists_hold_no_code() -> None:
    for file in (REPOSITORY / "src" / "rhobeta").glob("*/__init__.py"):
        if file.parent.name == "cli":  # It starts stages, and no result depends on it.
            continue
        assert file.read_text().count('"""') == 2, f"{file} holds more than a docstring"
        assert file.read_text().strip().endswith('"""')


@pytest.mark.slow
def test_changing_machine_search_or_gate_runs_nothing_and_changing_figures_runs_visualize(
    clone: Clone,
) -> None:
    clone.change(runtime__threads=2)
    assert clone.stages_run_by("dvc", "repro") == []
    searched = {"penalty.rho": {"low": 0.1, "high": 0.2}}
    gate = {"registry__name": "other", "registry__thresholds": ["test/mse <= 0.1"]}
    clone.change(tune__trials=7, tune__choose="best fvu", tune__space=searched, **gate)
    assert clone.stages_run_by("dvc", "repro") == []
    clone.change(visualize__dpi=60)
    assert clone.stages_run_by("dvc", "repro") == ["visualize"]
    assert len(clone.runs()) == 1
    assert clone.runs()[0].data.tags["visualize.dpi"] == "60"
    clone.change()
    assert clone.stages_run_by("dvc", "repro") == []
    assert git(clone.folder, "status", "--porcelain") == ""


@pytest.mark.slow
def test_an_experiment_leaves_a_second_run_and_dvc_compares_the_two(clone: Clone) -> None:
    before = clone.metrics()["test"]["mse"]
    ran = clone.stages_run_by("dvc", "exp", "run", "--name", "softer", "-S", "penalty.rho=0.3")
    assert ran == ["train", "evaluate", "visualize"]
    first, second = clone.runs()
    assert first.data.params["penalty.rho"] == "0.2"
    assert second.data.params["penalty.rho"] == "0.3"
    assert second.data.tags["dvc.exp_name"] == "softer"
    assert second.info.run_name.startswith("softer: ")
    assert first.data.tags["rhobeta.model_sha256"] != second.data.tags["rhobeta.model_sha256"]
    assert first.data.tags["rhobeta.data_sha256"] == second.data.tags["rhobeta.data_sha256"]

    difference = json.loads(clone.run("dvc", "metrics", "diff", "--json").stdout)
    change = difference["reports/metrics.json"]["reconstruction.mse"]
    assert change["old"] == before
    assert change["new"] == clone.metrics()["test"]["mse"]
    parameters = json.loads(clone.run("dvc", "params", "diff", "--json").stdout)
    assert list(parameters["params.yaml"]) == ["penalty.rho"]
    assert parameters["params.yaml"]["penalty.rho"]["new"] == 0.3
    assert "softer" in clone.run("dvc", "exp", "show", "--md").stdout
    clone.run("dvc", "plots", "show", "--out", "plots_page")
    page = (clone.folder / "plots_page" / "index.html").read_text()
    assert "Loss by epoch" in page
    assert "validation_mse" in page


@pytest.mark.slow
def test_a_preset_runs_as_an_experiment_of_its_name_and_leaves_its_run(clone: Clone) -> None:
    before = {run.info.run_id for run in clone.runs()}
    words = ("rhobeta", "run", "--preset", "blog-plain-deep")
    ran = clone.stages_run_by(*words, "-S", "training.epochs=2", "-S", "visualize.dpi=50")
    assert ran == ["train", "evaluate", "visualize"]
    (run,) = [run for run in clone.runs() if run.info.run_id not in before]
    assert run.data.tags["dvc.exp_name"] == "blog-plain-deep"
    assert run.data.params["model.hidden_sizes"] == "[128, 64, 32]"
    assert run.data.params["penalty.kind"] == "none"
    # What stands behind the preset has the last word; what it leaves alone stays.
    assert run.data.params["training.epochs"] == "2"
    assert run.data.params["data.name"] == "own"
    assert run.info.run_name == "blog-plain-deep: no penalty, own 128-64-32 relu"
    # Once more, and nothing is trained again: the stages are DVC's.
    assert clone.stages_run_by(*words, "-S", "training.epochs=2") == []
    shown = clone.run("dvc", "exp", "list", "--name-only").stdout.split()
    assert {"blog-plain-deep", "blog-plain-deep-2"} <= set(shown)
