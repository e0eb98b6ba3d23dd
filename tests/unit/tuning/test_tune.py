"""The whole command, with a worker process: search, further seeds, pictures, the study's run."""

import csv

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from helpers import QUICK, write_params
from helpers.searching import SEARCH
from rhobeta.cli import main
from rhobeta.config.params import load_params
from rhobeta.data.splits import read_manifest
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import read_code
from rhobeta.tracking.store import open_store
from rhobeta.tuning.study_runs import (
    STUDY_ID_TAG,
    STUDY_TAG,
    TRIAL_TAG,
    end_lost_runs,
    parent_run,
)
from rhobeta.tuning.tune import open_results


@pytest.mark.slow
def test_the_command_searches_repeats_the_front_and_logs_it(
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
    assert {"figures/front.png", "figures/history_fvu.png", "figures/contour_gini.png"} <= pictures
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
    assert (without.repeated, without.shortfall) == ({}, "")
    write_params(project.workspace, QUICK | SEARCH | seeds)

    # Enough are there: a second time nothing is trained.
    assert main(["tune"]) == 0
    assert "none is run" in capfd.readouterr().out
    assert len(client.search_runs(experiments)) == len(runs)


def test_a_password_in_the_parameters_does_not_reach_mlflow(project: Paths) -> None:
    params = load_params(project.params)
    secret = params.tune.model_copy(update={"storage": "postgresql://me:s3cret@host/it"})
    store = open_store(project, params.runtime.experiment)
    run = parent_run(
        store,
        params.model_copy(update={"tune": secret}),
        "an id",
        read_code(project.workspace),
        read_manifest(project.splits),
    )
    logged = store.client.get_run(run.run_id)
    assert logged.data.params["tune.storage"] == "postgresql://host/it"
    assert "s3cret" not in str(logged.to_dictionary())


def test_the_run_of_a_lost_trial_is_killed_and_others_stay(project: Paths) -> None:
    store = open_store(project, "it")
    tags = {STUDY_ID_TAG: "an id", "rhobeta.stage": "trial", STUDY_TAG: "it"}
    lost, held = (
        store.client.create_run(store.experiment_id, tags=tags | {TRIAL_TAG: number})
        for number in ("0", "1")
    )
    end_lost_runs(store, "an id", lambda: {("it", "1")})
    assert store.client.get_run(held.info.run_id).info.status == "RUNNING"
    ended = store.client.get_run(lost.info.run_id)
    assert ended.info.status == "KILLED"
    assert "lost" in ended.data.tags["rhobeta.error"]


@pytest.mark.slow
def test_workers_that_end_early_are_reported(
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
