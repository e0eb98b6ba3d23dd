"""Trials in this process: their values, their MLflow runs, and what becomes of those that fail."""

from typing import Any

import optuna
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from optuna.trial import TrialState

from helpers import QUICK, write_params
from helpers.searching import RunTrials, asking
from rhobeta.cli import main
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tuning import objective
from rhobeta.tuning.study import ERROR, MEASURES, RUN, count_states
from rhobeta.tuning.workers import run_trials

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


def _patch_training(monkeypatch: pytest.MonkeyPatch, instead: dict[int, Any]) -> None:
    """Have the n-th training (from 0) call or raise something else."""
    plain, count = objective.fit, iter(range(1000))

    def train(*arguments: Any, **named: Any) -> Any:
        do = instead.get(next(count), plain)
        if isinstance(do, BaseException):
            raise do
        return do(*arguments, **named)

    monkeypatch.setattr(objective, "fit", train)


@pytest.mark.slow
def test_a_study_continues_to_the_same_trials(run_here: RunTrials) -> None:
    at_once, _, _ = run_here(tune__trials=3, tune__study="at once")
    run_here(tune__trials=1, tune__study="in two parts")
    in_parts, _, _ = run_here(tune__trials=3, tune__study="in two parts")
    assert count_states(at_once) == count_states(in_parts) == {"complete": 3}
    for one, other in zip(at_once.get_trials(), in_parts.get_trials(), strict=True):
        assert one.params == other.params
        assert one.values == other.values
    assert len({trial.params["penalty.rho"] for trial in at_once.get_trials()}) == 3


def test_a_trial_is_a_run_below_the_study_with_its_measures(
    run_here: RunTrials, project: Paths
) -> None:
    study, _, job = run_here(
        tune__objectives={"fvu": "minimize", "probe": "maximize"},
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
        assert note.startswith(f"**fvu {trial.values[0]:.4g}, probe {trial.values[1]:.4g}")
        assert float(run.data.params["penalty.rho"]) == pytest.approx(
            trial.params["penalty.rho"], rel=1e-3
        )
        curve = client.get_metric_history(run.info.run_id, "Curves/validation_gini")
        assert [point.step for point in curve] == [1, 2]
        measures = trial.user_attrs[MEASURES]
        assert trial.values == [measures["fvu"], measures["probe"]]
        assert 0 < measures["probe"] <= 1
        assert measures["dead_share"] == measures["dead_units"] / 16
        assert run.data.metrics["best/fvu"] == measures["fvu"]
        assert trial.constraints == pytest.approx(
            {
                "dead_share <= 0.5": measures["dead_share"] - 0.5,
                "gini >= 0.9": 0.9 - measures["gini"],
            }
        )
    assert runs[job.parent_run].data.params["tune.trials"] == "3"


@pytest.mark.slow
def test_a_trial_is_the_training_that_the_stage_does(run_here: RunTrials, project: Paths) -> None:
    study, _, _ = run_here(tune__trials=1)
    (trial,) = study.get_trials()
    run = _runs(project)[trial.user_attrs[RUN]]
    values = {name: float(run.data.params[name]) for name in ("penalty.rho", "penalty.beta")}
    write_params(project.workspace, QUICK | values)
    assert main(["train"]) == 0
    (stage,) = [r for r in _runs(project).values() if r.data.tags["rhobeta.stage"] == "train"]
    assert stage.data.metrics["best/fvu"] == trial.values[0]
    assert stage.data.metrics["best/gini"] == trial.values[1]


def test_the_run_of_a_pruned_trial_is_killed_with_its_epoch(
    run_here: RunTrials, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: self.number == 1)
    study, _, _ = run_here(**SINGLE)
    first, second, third = study.get_trials()
    assert [first.state, second.state] == [TrialState.COMPLETE, TrialState.PRUNED]
    assert third.state == TrialState.COMPLETE
    assert list(first.intermediate_values) == [1, 2, 3, 4, 5, 6]
    assert list(second.intermediate_values) == [1]
    pruned = _runs(project)[second.user_attrs[RUN]]
    assert pruned.info.status == "KILLED"
    assert pruned.data.tags["rhobeta.pruned_epoch"] == "1"
    assert "rhobeta.error" not in pruned.data.tags
    assert pruned.data.metrics["Curves/validation_fvu"] == second.intermediate_values[1]


def test_a_failed_training_is_recorded_and_replaced(
    run_here: RunTrials, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    _patch_training(monkeypatch, {1: RhobetaError("Training has diverged")})
    study, _, _ = run_here()
    assert count_states(study) == {"complete": 3, "failed": 1}
    (failed,) = study.get_trials(states=(TrialState.FAIL,))
    assert "Training has diverged" in failed.user_attrs[ERROR]
    run = _runs(project)[failed.user_attrs[RUN]]
    assert run.info.status == "FAILED"
    assert "Training has diverged" in run.data.tags["rhobeta.error"]


def test_an_interrupted_trial_is_queued_with_its_values(
    run_here: RunTrials, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _, job = run_here(tune__trials=1)
    with monkeypatch.context() as patch:
        _patch_training(patch, {0: KeyboardInterrupt()})
        with pytest.raises(KeyboardInterrupt):
            run_trials(asking(job, 2))
    assert count_states(study) == {"complete": 1, "lost": 1, "waiting": 1}
    interrupted = study.get_trials()[1]
    assert _runs(project)[interrupted.user_attrs[RUN]].info.status == "KILLED"
    run_trials(asking(job, 2))
    assert count_states(study) == {"complete": 2, "lost": 1}
    assert study.get_trials()[2].params == interrupted.params


def test_a_trial_without_its_server_is_queued_and_not_failed(
    run_here: RunTrials, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _, job = run_here(tune__trials=1)
    away = MlflowException("API request failed")
    away.__cause__ = requests.ConnectionError("Connection refused")
    _patch_training(monkeypatch, {0: away, 1: away})
    run_trials(asking(job, 2))
    assert count_states(study) == {"complete": 2, "lost": 2}
    assert len({trial.params["penalty.rho"] for trial in study.get_trials()}) == 2


def test_the_result_of_a_trial_that_ran_elsewhere_is_dropped(
    run_here: RunTrials, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _, job = run_here(tune__trials=1)
    plain = objective.fit

    def slowly(*arguments: Any, **named: Any) -> Any:
        study.tell(1, state=TrialState.FAIL)
        return plain(*arguments, **named)

    _patch_training(monkeypatch, {0: slowly})
    run_trials(asking(job, 2))
    assert count_states(study) == {"complete": 2, "lost": 1}
    assert _runs(project)[study.get_trials()[1].user_attrs[RUN]].info.status == "FINISHED"
