"""Trials that use several devices: each a training of several processes, told its parameters."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from helpers import QUICK, write_params
from helpers.searching import SEARCH, RunWorker, begun
from rhobeta.cli import main
from rhobeta.config.params import load_params
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.store import StoreUnavailableError
from rhobeta.tuning.ranks import _failure_of, told, train_in_processes
from rhobeta.tuning.space import distributions_of, with_values
from rhobeta.tuning.study import MEASURES
from rhobeta.tuning.worker import run_until_enough
from rhobeta.utils.files import write_json

# Trials that a pruner compares with; it prunes none before it knows some.
BETTER = 10


def runs(paths: Paths) -> list[Any]:
    client = MlflowClient(f"sqlite:///{paths.store}/mlflow.db")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [run for run in found if "rhobeta.trial" in run.data.tags]


@pytest.mark.slow
def test_a_trial_in_two_processes_is_the_trial_in_one(
    project: Paths, run_worker: RunWorker
) -> None:
    alone, _, _ = run_worker(tune__trials=2)
    together, _, _ = run_worker(tune__trials=2, tune__study="together", runtime__devices=2)
    for one, two in zip(alone.trials, together.trials, strict=True):
        assert two.state == TrialState.COMPLETE
        assert two.params == one.params
        assert two.values == pytest.approx(one.values, rel=1e-5)
        assert two.user_attrs[MEASURES] == pytest.approx(one.user_attrs[MEASURES], rel=1e-4)
    client = MlflowClient(f"sqlite:///{project.store}/mlflow.db")
    sizes = {}
    for run in runs(project):
        assert run.info.status == "FINISHED"
        curve = client.get_metric_history(run.info.run_id, "validation/mse")
        assert [point.step for point in curve] == [1, 2]
        sizes.setdefault(run.data.tags["rhobeta.study"], []).append(
            run.data.tags["rhobeta.world_size"]
        )
    assert sizes == {"rho-beta": ["1", "1"], "together": ["2", "2"]}


@pytest.mark.slow
def test_two_processes_are_pruned_as_one(project: Paths) -> None:
    changes = {
        "tune.mode": "single",
        "tune.objectives": {"fvu": "minimize"},
        "tune.pruner": "median",
        "training.epochs": 4,
        "runtime.devices": 2,
        "tune.trials": BETTER + 1,
    }
    write_params(project.workspace, QUICK | SEARCH | changes)
    study, job = begun(project, load_params(project.params))
    distributions = distributions_of(job.params)
    for _ in range(BETTER):
        study.add_trial(
            optuna.trial.create_trial(
                params={"penalty.rho": 0.1, "penalty.beta": 0.001},
                distributions=distributions,
                value=0.0,
                intermediate_values=dict.fromkeys(range(1, 5), 0.0),
            )
        )
    run_until_enough(job)
    pruned = study.get_trials()[-1]
    assert pruned.state == TrialState.PRUNED
    (run,) = runs(project)
    assert run.info.status == "KILLED"
    (epoch,) = set(pruned.intermediate_values)
    assert run.data.tags["rhobeta.pruned_epoch"] == str(epoch)
    assert run.data.metrics["validation/fvu"] == pruned.intermediate_values[epoch]


@pytest.mark.slow
def test_a_training_that_fails_gives_its_error_to_the_worker(
    project: Paths, run_worker: RunWorker
) -> None:
    _, params, job = run_worker(tune__trials=1, training__epochs=1)
    (run,) = runs(project)
    changes = {
        "model.hidden_sizes": [64] * 12,
        "model.code_activation": "relu",
        "model.output_activation": "identity",
        "penalty.kind": "none",
        "training.epochs": 60,
        "training.learning_rate": 1.0,
        "training.schedule": "constant",
        "runtime.devices": 2,
    }
    words = told(
        with_values(params, changes),
        project,
        run_id=run.info.run_id,
        study=job.study,
        trial_id=1,
        threads=1,
    )
    with pytest.raises(RhobetaError, match="diverged"):
        train_in_processes(words, 2, job.url)


def test_a_training_that_finds_no_server_is_told_from_one_that_fails(tmp_path: Path) -> None:
    write_json(tmp_path / "outcome.json", {"error": "no answer", "away": True})
    assert isinstance(_failure_of(tmp_path), StoreUnavailableError)
    write_json(tmp_path / "outcome.json", {"error": "it has diverged", "away": False})
    assert not isinstance(_failure_of(tmp_path), StoreUnavailableError)
    assert str(_failure_of(tmp_path)) == "it has diverged"


def test_a_search_over_nodes_or_by_a_starter_of_processes_is_refused(
    project: Paths, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(project.workspace, QUICK | SEARCH | {"runtime.nodes": 2})
    assert main(["tune"]) == 1
    assert "a trial runs on one machine" in capsys.readouterr().err
    write_params(project.workspace, QUICK | SEARCH)
    slurm = {"PROCID": "1", "LOCALID": "1", "NTASKS": "4", "NNODES": "2"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert main(["tune"]) == 1
    assert "slurm has started this as one of 4 processes" in capsys.readouterr().err
