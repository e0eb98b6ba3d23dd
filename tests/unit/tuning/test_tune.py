"""The whole command, with a worker process: search, further seeds, pictures, the study's run."""

import csv
from collections.abc import Callable
from typing import Any

import pytest
from filelock import FileLock, Timeout
from mlflow import MlflowClient
from optuna.trial import TrialState

from helpers import QUICK, write_params
from helpers.searching import SEARCH, RunWorker
from rhobeta.cli import main
from rhobeta.config.params import load_params
from rhobeta.paths import Paths
from rhobeta.tuning import show as show_module
from rhobeta.tuning import tune as tune_module
from rhobeta.tuning.tune import open_results


def test_the_command_searches_repeats_the_front_and_leaves_all_of_it_in_mlflow(
    project: Paths, capfd: pytest.CaptureFixture[str]
) -> None:
    seeds = {"tune.seeds": 2, "tune.trials": 4, "training.epochs": 1}
    write_params(project.workspace, QUICK | SEARCH | seeds)
    assert main(["tune", "--workers", "1"]) == 0
    said = capfd.readouterr().out
    assert "4 finished trials asked for; 1 worker of 1 thread" in said
    assert "4 of 4 finished, best so far fvu " in said
    assert "means of 2 further seeds" in said
    assert "rule: the knee of the front" in said

    params = load_params(project.params)
    study, results = open_results(params, project)
    assert [trial.state for trial in study.get_trials()] == [TrialState.COMPLETE] * 4
    assert {row.state for row in results.rows} == {"complete"}
    front = {candidate.number for candidate in results.front}
    assert set(results.repeated) == front
    assert {over["fvu"].seeds for over in results.repeated.values()} == {2}
    # Another seed is another training.
    number = results.front[0].number
    assert results.repeated[number]["fvu"].mean != results.row(number).measures["fvu"]

    client = MlflowClient(f"sqlite:///{project.store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments)
    assert len(runs) == 1 + 4 + 2 * len(front)
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = [run for run in runs if run.data.tags["rhobeta.stage"] == "tune"]
    children = [run for run in runs if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    studies = [run.data.tags["rhobeta.study"] for run in children]
    assert studies.count("rho-beta") == 4
    assert studies.count("rho-beta (seeds)") == 2 * len(front)
    assert {run.data.params["training.seed"] for run in children} == {"0", "1", "2"}
    row = results.row(results.chosen)
    assert parent.data.tags["chosen.penalty.rho"] == str(row.values["penalty.rho"])
    assert row.run_id in parent.data.tags["mlflow.note.content"]
    files = {file.path for file in client.list_artifacts(parent.info.run_id)}
    assert files == {"trials.csv", "figures"}
    pictures = {file.path for file in client.list_artifacts(parent.info.run_id, "figures")}
    assert {"figures/front.png", "figures/history.png", "figures/surface.png"} <= pictures
    table = list(csv.DictReader((project.tuning / "trials.csv").open()))
    assert [int(line["trial"]) for line in table] == [0, 1, 2, 3]
    assert [line["chosen"] for line in table].count("yes") == 1
    assert {line["trial"] for line in table if line["front"] == "yes"} == set(map(str, front))

    # A third seed is asked for, and was not trained: the front as searched decides until it is.
    write_params(project.workspace, QUICK | SEARCH | seeds | {"tune.seeds": 3})
    assert main(["tune", "show"]) == 0
    missing, wanted = len(front), 3 * len(front)
    assert f"{missing} of {wanted} trainings with further seeds" in capfd.readouterr().out
    # None are asked for: those that there are count for nothing.
    write_params(project.workspace, QUICK | SEARCH | seeds | {"tune.seeds": 0})
    _, without = open_results(load_params(project.params), project)
    assert (without.repeated, without.missing) == ({}, 0)
    write_params(project.workspace, QUICK | SEARCH | seeds)

    # Enough are there: a second time nothing is trained.
    assert main(["tune"]) == 0
    assert "none is run" in capfd.readouterr().out
    assert len(client.search_runs(experiments)) == len(runs)


def test_one_command_at_a_time_writes_the_results(
    run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, job = run_worker()
    called = []

    def locked(plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            with pytest.raises(Timeout):
                FileLock(job.paths.store / ".tuning.lock").acquire(timeout=0)
            called.append(plain.__name__)
            return plain(*arguments)

        return call

    monkeypatch.setattr(tune_module, "write_results", locked(tune_module.write_results))
    monkeypatch.setattr(tune_module, "describe_results", locked(tune_module.describe_results))
    monkeypatch.setattr(show_module, "write_results", locked(show_module.write_results))
    assert main(["tune"]) == 0
    assert main(["tune", "show"]) == 0
    assert called == ["write_results", "describe_results", "write_results"]


@pytest.mark.slow
def test_workers_that_end_before_their_time_are_reported(
    project: Paths, capfd: pytest.CaptureFixture[str]
) -> None:
    # The command looks at the manifest; what it names is found damaged by the worker.
    (project.splits / "train.safetensors").write_bytes(b"not it")
    assert main(["tune", "--workers", "1"]) == 1
    said = capfd.readouterr().err
    assert "a worker has ended" in said
    assert "is not the file that manifest.json describes" in said
    assert "0 of 3 trials finished" in said
    client = MlflowClient(f"sqlite:///{project.store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert [run.info.status for run in client.search_runs(experiments)] == ["FAILED"]
