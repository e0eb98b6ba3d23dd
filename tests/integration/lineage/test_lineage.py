"""One story across DVC, MLflow and Optuna, with all of them for real."""

import json
from pathlib import Path
from typing import Any

import pytest

from helpers import git
from helpers.clones import Clone, copy_of
from rhobeta.cli import main
from rhobeta.config.params import load_params
from rhobeta.lineage.project import Project
from rhobeta.lineage.trace import trace
from rhobeta.paths import Paths

# Fewer measurements for the queue's models.
FAST = ("-S", "evaluate.tasks=[]")
MODEL = "models/autoencoder.safetensors"


class Told:
    """Asks the clone for stories."""

    def __init__(self, clone: Clone, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = clone.folder
        self._capsys = capsys

    def __call__(self, what: str) -> dict[str, Any]:
        paths = Paths(self.folder, self.folder)
        self._capsys.readouterr()
        trace(what, Project(load_params(paths.params), paths), as_json=True)
        story: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return story


def _ids(records: list[dict[str, Any]]) -> set[str]:
    return {record["id"] for record in records}


def _require_one_chain(told: Told, ends: list[str], *, model: str, run: str, holder: str) -> None:
    """From each of `ends` the story leads to this model, this run alone, and this commit."""
    for end in ends:
        story = told(end)
        assert story["model"]["sha256"] == model, end
        assert _ids(story["runs"]) == {run}, end
        held = [c["id"] for c in story["commits"]] + [e["commit"] for e in story["experiments"]]
        assert holder in held, end
        assert story["data"]["raw_files"], end
        assert set(story["data"]["splits"]) == {"train", "validation", "test"}, end
        assert "test/mse" in story["metrics"], end
        assert story["missing"] == [], end


def _experiments(clone: Clone) -> dict[str, str]:
    """The commit of each DVC experiment."""
    listed = git(clone.folder, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
    pairs = [line.split() for line in listed.splitlines() if len(line.split("/")) == 5]
    return {reference.rpartition("/")[2]: commit for commit, reference in pairs}


@pytest.mark.slow
def test_each_step_leaves_its_runs_and_one_lineage(
    reproduced: Clone,
    softer: Clone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def printed(*command: str) -> str:
        """What a command prints that runs in this process, in the current folder."""
        capsys.readouterr()
        assert main(list(command)) == 0
        return capsys.readouterr().out

    # A pipeline.
    clone = copy_of(reproduced, tmp_path / "before")
    monkeypatch.chdir(clone.folder)
    told = Told(clone, capsys)
    (first,) = clone.runs()
    model, head = first.data.tags["rhobeta.model_sha256"], git(clone.folder, "rev-parse", "HEAD")
    ends = [MODEL, first.info.run_id, first.info.run_id[:8], head, "main", model]
    _require_one_chain(told, ends, model=model, run=first.info.run_id, holder=head)
    assert told("HEAD")["code"]["commit"] == git(clone.folder, "rev-parse", "HEAD~1")
    assert told("HEAD")["code"]["dirty"] is False

    # An experiment.
    clone = copy_of(softer, tmp_path / "project")
    monkeypatch.chdir(clone.folder)
    told = Told(clone, capsys)
    assert len(clone.runs()) == 2
    second = clone.runs()[1]
    softer_model, commit = second.data.tags["rhobeta.model_sha256"], _experiments(clone)["softer"]
    ends = [MODEL, second.info.run_id, second.info.run_name, "softer", commit]
    _require_one_chain(told, ends, model=softer_model, run=second.info.run_id, holder=commit)
    assert told("softer")["runs"][0]["baseline"] == head

    # A queue with two workers, each experiment in a temporary folder of its own.
    for seed in (1, 2):
        changed = ("-S", f"training.seed={seed}", "-S", "penalty.rho=0.2", *FAST)
        clone.run("dvc", "exp", "run", "--queue", "--name", f"seed-{seed}", *changed, "evaluate")
    clone.run("dvc", "exp", "run", "--run-all", "--jobs", "2")
    queued = {run.data.tags.get("dvc.exp_name"): run for run in clone.runs()[2:]}
    assert sorted(queued) == ["seed-1", "seed-2"]
    assert len(clone.runs()) == 4
    for name, run in queued.items():
        commit = _experiments(clone)[name]
        assert run.info.status == "FINISHED"
        assert run.info.run_name.startswith(f"{name}: ")
        assert run.data.params["training.seed"] == name[-1]
        _require_one_chain(
            told,
            [name, run.info.run_id, commit],
            model=run.data.tags["rhobeta.model_sha256"],
            run=run.info.run_id,
            holder=commit,
        )

    # A cache hit: the same parameters again, whose results DVC has.
    git(clone.folder, "checkout", "--quiet", "--force", "main")
    clone.run("dvc", "checkout", "--quiet")
    clone.run("dvc", "exp", "apply", "softer")
    assert clone.stages_run_by("dvc", "repro") == []
    assert second.info.run_id in printed("sync")
    assert len(clone.runs()) == 4
    assert _ids(told(MODEL)["runs"]) == {second.info.run_id}
    git(clone.folder, "commit", "--quiet", "--all", "--message=softer")

    # A checkout of an older commit.
    git(clone.folder, "checkout", "--quiet", "HEAD~1")
    clone.run("dvc", "checkout", "--quiet")
    assert first.info.run_id in printed("sync")
    assert len(clone.runs()) == 4
    _require_one_chain(told, [MODEL, "HEAD"], model=model, run=first.info.run_id, holder=head)
    git(clone.folder, "checkout", "--quiet", "main")
    clone.run("dvc", "checkout", "--quiet")

    # The same in another clone, whose store has not seen it.
    clone.run("dvc", "remote", "add", "--quiet", "--default", "shelf", str(tmp_path / "remote"))
    git(clone.folder, "commit", "--quiet", "--all", "--message=remote")
    clone.run("dvc", "push", "--quiet")
    fresh = Clone(tmp_path / "fresh")
    git(tmp_path, "clone", "--quiet", str(clone.folder), str(fresh.folder))
    fresh.run("dvc", "pull", "--quiet")
    monkeypatch.chdir(fresh.folder)
    told_there = Told(fresh, capsys)
    assert told_there(MODEL)["missing"][0]["link"].startswith("an MLflow store")
    assert not (fresh.folder / "mlruns" / "mlflow.db").exists()
    assert "restored" in printed("sync")
    (restored,) = fresh.runs()
    _require_as_good_as(restored, second)
    assert restored.info.run_id in printed("sync")
    (story,) = told_there("main")["runs"]
    assert (story["id"], story["restored"]) == (restored.info.run_id, True)
    monkeypatch.chdir(clone.folder)

    # Trials, one or both of them with the parameters of these models.
    space = {"penalty.rho": {"choices": [0.2, 0.3]}}
    clone.change(tune__study="rho-beta", tune__trials=2, tune__space=space, tune__constraints=[])
    printed("tune", "--workers", "1")
    for number in (0, 1):
        story = told(f"trial {number}")
        (mine,) = [trial for trial in story["trials"] if trial["trial"] == number]
        (study,) = story["studies"]
        assert story["model"]["sha256"] in (model, softer_model)
        assert _ids(story["runs"]) <= {first.info.run_id, second.info.run_id}
        assert mine["parent"] == study["id"]
        assert story["commits"]
        for end in (mine["id"], f"rho-beta/{number}", story["model"]["sha256"]):
            again = told(end)
            assert mine["id"] in _ids(again["trials"])
            assert _ids(again["runs"]) == _ids(story["runs"])
            assert _ids(again["studies"]) == {study["id"]}
    assert told("rho-beta")["asked"]["kind"] == "study"


def _require_as_good_as(restored: Any, original: Any) -> None:
    assert restored.data.tags["rhobeta.restored"] == "true"
    assert restored.info.status == "FINISHED"
    assert "mlflow.source.git.commit" not in restored.data.tags
    machine = {name for name in original.data.params if name.startswith("runtime.")}
    assert restored.data.params == {
        name: value for name, value in original.data.params.items() if name not in machine
    }
    measured = {
        name: value
        for name, value in original.data.metrics.items()
        if not name.startswith("seconds/")
    }
    assert restored.data.metrics == pytest.approx(measured, rel=1e-5)
    digests = [
        {tag.value for d in run.inputs.dataset_inputs for tag in d.tags}
        for run in (restored, original)
    ]
    assert digests[0] == digests[1]
    assert restored.outputs.model_outputs
