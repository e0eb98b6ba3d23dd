"""A worker's trials: exactly as many as asked for, each with its MLflow run."""

import os
import signal
from threading import Event
from typing import Any

import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from helpers import QUICK, write_params
from helpers.searching import SEARCH, RunWorker, asking, begun
from rhobeta.cli import main
from rhobeta.config.params import load_params
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tuning import trial as trial_module
from rhobeta.tuning.runs import parent_run
from rhobeta.tuning.storage import open_storage
from rhobeta.tuning.study import ERROR, MEASURES, RUN, counts_of, is_one_too_many, load_study
from rhobeta.tuning.worker import run_and_tell, run_until_enough, surroundings_of

SINGLE = {
    "tune__mode": "single",
    "tune__objectives": {"fvu": "minimize"},
    "tune__pruner": "median",
    "training__epochs": 6,
}


def _runs(paths: Paths) -> dict[str, Any]:
    client = MlflowClient(f"sqlite:///{paths.store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_id: run for run in client.search_runs(experiments)}


def test_a_study_gets_exactly_the_trials_asked_for_and_continues(
    run_worker: RunWorker, project: Paths
) -> None:
    study, _, _ = run_worker()
    first = study.get_trials()
    assert [trial.state for trial in first] == [TrialState.COMPLETE] * 3
    study, _, _ = run_worker(tune__trials=5)
    trials = study.get_trials()
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 5
    assert [trial.params for trial in trials[:3]] == [trial.params for trial in first]
    assert len({trial.params["penalty.rho"] for trial in trials}) == 5


def test_a_study_of_one_worker_is_the_same_again_also_when_it_was_interrupted(
    run_worker: RunWorker,
) -> None:
    at_once, _, _ = run_worker(tune__trials=4, tune__study="at once")
    run_worker(tune__trials=2, tune__study="in two parts")
    in_parts, _, _ = run_worker(tune__trials=4, tune__study="in two parts")
    for one, other in zip(at_once.get_trials(), in_parts.get_trials(), strict=True):
        assert one.params == other.params
        assert one.values == other.values
    other_seed, _, _ = run_worker(tune__trials=1, tune__study="another seed", tune__seed=1)
    assert other_seed.get_trials()[0].params != at_once.get_trials()[0].params


def test_each_trial_is_a_run_below_the_study_s_with_all_that_it_was_measured_by(
    run_worker: RunWorker, project: Paths
) -> None:
    study, _, job = run_worker(
        tune__objectives={"fvu": "minimize", "probe_accuracy": "maximize"},
        tune__constraints=["dead_share <= 0.5", "gini >= 0.9"],
    )
    runs = _runs(project)
    assert len(runs) == 4
    client = MlflowClient(f"sqlite:///{project.store / 'mlflow.db'}")
    for trial in study.get_trials():
        run = runs[trial.user_attrs[RUN]]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == job.parent_run
        assert run.data.tags["rhobeta.study"] == "rho-beta"
        assert run.data.tags["rhobeta.trial"] == str(trial.number)
        note = run.data.tags["mlflow.note.content"]
        assert job.parent_run in note
        assert note.startswith(f"**fvu {trial.values[0]:.4g}, probe_accuracy {trial.values[1]:.4g}")
        assert float(run.data.params["penalty.rho"]) == pytest.approx(
            trial.params["penalty.rho"], rel=1e-3
        )
        assert run.data.params["training.epochs"] == "2"
        curve = client.get_metric_history(run.info.run_id, "validation/gini")
        assert [point.step for point in curve] == [1, 2]
        measures = trial.user_attrs[MEASURES]
        assert trial.values == [measures["fvu"], measures["probe_accuracy"]]
        assert 0 < measures["probe_accuracy"] <= 1
        assert measures["dead_share"] == measures["dead_units"] / 16
        assert run.data.metrics["best/fvu"] == measures["fvu"]
        assert trial.constraints == pytest.approx(
            {
                "dead_share <= 0.5": measures["dead_share"] - 0.5,
                "gini >= 0.9": 0.9 - measures["gini"],
            }
        )
    assert runs[job.parent_run].data.params["tune.trials"] == "3"


def test_a_password_in_the_parameters_does_not_reach_mlflow(project: Paths) -> None:
    url = f"sqlite:////{project.store / 'optuna.db'}"
    write_params(project.workspace, QUICK | SEARCH | {"tune.storage": url})
    params = load_params(project.params)
    _, job = begun(project, params)
    around = surroundings_of(job, Event())
    secret = params.tune.model_copy(update={"storage": "postgresql://me:s3cret@host/it"})
    told = params.model_copy(update={"tune": secret})
    run = parent_run(around.store, told, "another study", job.code, around.manifest)
    logged = _runs(project)[run.run_id]
    assert logged.data.params["tune.storage"] == "postgresql://host/it"
    assert "s3cret" not in str(logged.to_dictionary())


def test_a_trial_is_the_training_that_the_stage_would_do(
    run_worker: RunWorker, project: Paths, capsys: pytest.CaptureFixture[str]
) -> None:

    study, _, _ = run_worker(tune__trials=1)
    (trial,) = study.get_trials()
    run = _runs(project)[trial.user_attrs[RUN]]
    values = {name: float(run.data.params[name]) for name in ("penalty.rho", "penalty.beta")}
    write_params(project.workspace, QUICK | values)
    assert main(["train"]) == 0
    (stage,) = [r for r in _runs(project).values() if r.data.tags["rhobeta.stage"] == "train"]
    assert stage.data.metrics["best/fvu"] == trial.values[0]
    assert stage.data.metrics["best/gini"] == trial.values[1]


def test_a_pruned_trial_s_run_is_killed_with_its_epoch(
    run_worker: RunWorker, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna

    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: self.number == 1)
    study, _, _ = run_worker(**SINGLE)
    first, second, third = study.get_trials()
    assert [first.state, second.state] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert third.state == TrialState.COMPLETE
    assert list(first.intermediate_values) == [1, 2, 3, 4, 5, 6]
    assert list(second.intermediate_values) == [1]
    runs = _runs(project)
    pruned = runs[second.user_attrs[RUN]]
    assert pruned.info.status == "KILLED"
    assert pruned.data.tags["rhobeta.pruned_epoch"] == "1"
    assert "rhobeta.error" not in pruned.data.tags
    # What the pruner saw is what the run shows.
    assert pruned.data.metrics["validation/fvu"] == second.intermediate_values[1]
    assert counts_of(study).finished == 3


def test_a_failed_training_is_recorded_and_replaced(
    run_worker: RunWorker, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = trial_module.train_once
    calls = []

    def second_fails(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RhobetaError("Training has diverged")
        return plain(*arguments)

    monkeypatch.setattr(trial_module, "train_once", second_fails)
    study, _, _ = run_worker()
    states = [trial.state for trial in study.get_trials()]
    assert states.count(TrialState.COMPLETE) == 3
    (failed,) = study.get_trials(states=(TrialState.FAIL,))
    assert "Training has diverged" in failed.user_attrs[ERROR]
    counts = counts_of(study)
    assert (counts.finished, counts.failed, counts.lost) == (3, 1, 0)
    run = _runs(project)[failed.user_attrs[RUN]]
    assert run.info.status == "FAILED"
    assert "Training has diverged" in run.data.tags["rhobeta.error"]


def test_trial_after_trial_that_fails_ends_the_worker(
    run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: Any) -> Any:
        raise RhobetaError("no")

    monkeypatch.setattr(trial_module, "train_once", fails)
    study, _, _ = run_worker(tune__trials=20)
    counts = counts_of(study)
    assert counts.hopeless
    assert (counts.finished, counts.failed) == (0, 10)


def test_a_lost_trial_runs_again_with_its_values_and_its_run_is_ended(
    run_worker: RunWorker, project: Paths
) -> None:
    study, _, job = run_worker(tune__trials=1)
    around = surroundings_of(job, Event())
    lost = study.ask()
    lost.suggest_float("penalty.rho", 0.05, 0.5, log=True)
    with trial_module.new_run(around.store, name="lost", tags={}) as run:
        lost.set_user_attr(RUN, run.run_id)
    around.store.client.update_run(run.run_id, status="RUNNING")
    # Never a beat: as if its worker died at once.
    run_until_enough(asking(job, 3))
    trials = study.get_trials()
    assert trials[1].state == TrialState.FAIL
    (again,) = [t for t in trials if t.system_attrs.get("retry_history") == [1]]
    assert again.state == TrialState.COMPLETE
    assert again.params["penalty.rho"] == trials[1].params["penalty.rho"]
    assert again.user_attrs[RUN] != run.run_id
    counts = counts_of(study)
    assert (counts.finished, counts.lost, counts.failed, counts.running) == (3, 1, 0, 0)
    ended = _runs(project)[run.run_id]
    assert ended.info.status == "KILLED"
    assert f"trial {again.number} runs it again" in ended.data.tags["rhobeta.error"]


def test_what_a_trial_gives_that_was_taken_for_lost_counts_nowhere(
    run_worker: RunWorker, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, params, job = run_worker(tune__trials=1)
    storage = open_storage(job.url, heartbeat=1)
    study = load_study(storage, job.study, params)
    plain = trial_module.train_once

    def slowly(*arguments: Any) -> Any:
        storage.set_trial_state_values(slow._trial_id, TrialState.FAIL)
        return plain(*arguments)

    monkeypatch.setattr(trial_module, "train_once", slowly)
    slow = study.ask()
    run_and_tell(study, storage, slow, surroundings_of(job, Event()))
    assert counts_of(study).finished == 1
    late = study.get_trials()[1]
    assert late.state == TrialState.FAIL
    run = _runs(project)[late.user_attrs[RUN]]
    assert run.info.status == "KILLED"
    assert "taken for lost" in run.data.tags["rhobeta.error"]


def test_a_worker_that_is_asked_to_end_puts_its_trial_back(
    run_worker: RunWorker, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _, job = run_worker(tune__trials=1)

    plain = trial_module.train_once

    def signalled(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return plain(*arguments)

    before = signal.getsignal(signal.SIGTERM)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(trial_module, "train_once", signalled)
            with pytest.raises(SystemExit):
                run_until_enough(asking(job, 2), Event())
    finally:
        signal.signal(signal.SIGTERM, before)
    counts = counts_of(study)
    assert (counts.finished, counts.lost, counts.waiting) == (1, 1, 1)
    interrupted = study.get_trials()[1]
    assert _runs(project)[interrupted.user_attrs[RUN]].info.status == "KILLED"
    run_until_enough(asking(job, 2))
    assert counts_of(study).finished == 2
    assert study.get_trials()[2].params == interrupted.params


def test_of_trials_that_are_begun_at_once_the_later_withdraw(project: Paths) -> None:

    write_params(project.workspace, QUICK | SEARCH)
    study, _ = begun(project, load_params(project.params))
    begun_at_once = [study.ask().number for _ in range(4)]
    assert [is_one_too_many(study, n, 3) for n in begun_at_once] == [False, False, False, True]
