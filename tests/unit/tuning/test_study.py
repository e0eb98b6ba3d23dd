"""Studies in their database: joined or refused, and databases that cannot be used."""

import threading
from dataclasses import replace
from typing import Any

import optuna
import pytest

from helpers import QUICK, with_changes, write_params
from helpers.searching import SEARCH
from rhobeta.cli import main
from rhobeta.config.params import Params, check_params
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tuning.storage import STORAGE_VARIABLE, open_storage, storage_url
from rhobeta.tuning.study import (
    StudyIdentity,
    fingerprint_of,
    identity_of,
    load_study,
    open_study,
    require_identity,
    require_same_search,
)

DATA = "d" * 64


def params_with(**changes: Any) -> Params:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return check_params(with_changes(named), where="test")


@pytest.fixture
def storage(paths: Paths) -> Any:
    return open_storage(storage_url(paths, None), heartbeat=1)


def join(storage: Any, data: str = DATA, **changes: Any) -> Any:
    params = params_with(**changes)
    return open_study(storage, "it", params, fingerprint_of(params, data), "code")


def test_a_study_is_made_once_and_joined_afterwards(storage: Any) -> None:
    _, made = join(storage)
    study, joined = join(storage)
    assert joined == made == identity_of(study)
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tune__trials": 7, "tune__seed": 3, "tune__workers": 5, "tune__heartbeat": 2},
        {"tune__choose": "best gini where fvu <= 0.3", "tune__seeds": 3},
        {"tune__choose": "best gini where probe >= 0.5"},
        {"penalty__rho": 0.2, "penalty__beta": 0.5},
        {"runtime__threads": 4, "evaluate__seed": 4, "visualize__dpi": 50},
        {"evaluate__probe_penalty": 2.0, "tune__probe_images": 50},
    ],
    ids=[
        "how",
        "choice",
        "choice by another metric",
        "what is searched",
        "machine",
        "a probe that is not used",
    ],
)
def test_settings_that_change_no_trial_continue_the_study(storage: Any, changes: Any) -> None:
    _, made = join(storage)
    assert join(storage, **changes)[1] == made


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"training__epochs": 7},
            "  training.epochs: the study has 12, params.yaml 7",
        ),
        (
            {"tune__objectives": {"fvu": "minimize", "hoyer": "maximize"}},
            "  tune.objectives: the study has {'fvu': 'minimize', 'gini': 'maximize'},"
            " params.yaml {'fvu': 'minimize', 'hoyer': 'maximize'}",
        ),
        (
            {"tune__constraints": []},
            "  tune.constraints: the study has ['dead_share <= 0.05'], params.yaml []",
        ),
        (
            {"tune__space": {"penalty.rho": {"low": 0.01, "high": 0.5, "log": True}}},
            "  tune.space.penalty.beta: the study has {'low': 0.0001, 'high': 0.1, 'log': True},"
            " params.yaml nothing",
        ),
        ({"training__seed": 1}, "  training.seed: the study has 0, params.yaml 1"),
    ],
)
def test_another_search_is_refused_with_the_difference(
    storage: Any, changes: Any, line: str
) -> None:
    join(storage)
    with pytest.raises(RhobetaError) as caught:
        join(storage, **changes)
    first, *lines = str(caught.value).splitlines()
    assert "is of another search" in first
    assert line in lines
    assert "tune.study" in lines[-1]


def test_a_study_whose_directions_were_changed_is_refused(storage: Any) -> None:
    join(storage)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE study_directions SET direction = 'MINIMIZE'")
    with pytest.raises(RhobetaError, match=r"objectives: the study has \['minimize', 'minimize'\]"):
        join(storage)


@pytest.mark.parametrize(
    "told",
    [
        "text",
        {"id": "0' OR '1' = '1", "fingerprint": {}, "code": ""},
        {"id": ["x"], "fingerprint": {}, "code": ""},
        {"id": "1", "fingerprint": [], "code": ""},
        {"id": "1", "fingerprint": {"tune.objectives": ["fvu"]}, "code": ""},
    ],
)
def test_an_identity_that_is_none_is_not_believed(told: Any) -> None:
    study = optuna.create_study()
    study.set_user_attr("rhobeta", told)
    assert identity_of(study) is None


def test_objectives_in_another_order_are_another_search(storage: Any) -> None:
    # The values of a trial stand in the study in their order, whatever they are called today.
    join(storage)
    swapped = {"gini": "maximize", "fvu": "minimize"}
    with pytest.raises(RhobetaError) as caught:
        join(storage, tune__objectives=swapped)
    assert (
        "  tune.objectives: the study has {'fvu': 'minimize', 'gini': 'maximize'},"
        " params.yaml {'gini': 'maximize', 'fvu': 'minimize'}"
    ) in str(caught.value)


def test_a_study_continues_without_the_metric_of_its_rule(
    storage: Any,
) -> None:
    _, made = join(storage, tune__choose="best gini where probe >= 0.5")
    assert join(storage, tune__probe_images=50)[1] == made


def test_other_data_are_refused(storage: Any) -> None:
    join(storage)
    with pytest.raises(RhobetaError, match=r"data \(SHA-256\): the study has dddddddddddddddd"):
        join(storage, data="e" * 64)


def test_probe_settings_matter_where_it_is_an_objective(storage: Any) -> None:
    objectives = {"fvu": "minimize", "probe": "maximize"}
    join(storage, tune__objectives=objectives)
    with pytest.raises(RhobetaError, match=r"tune\.probe_images: the study has 5000"):
        join(storage, tune__objectives=objectives, tune__probe_images=50)


def test_a_study_of_another_program_is_refused(storage: Any) -> None:
    study = optuna.create_study(
        storage=storage, study_name="it", directions=["minimize", "maximize"]
    )
    study.tell(study.ask(), [0.0, 0.0])
    with pytest.raises(RhobetaError, match="rhobeta did not make"):
        join(storage)


def test_a_study_without_trials_is_taken_over(
    storage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rhobeta.tuning.study._BEING_MADE_SECONDS", 0)
    directions = ["minimize", "maximize"]
    optuna.create_study(storage=storage, study_name="it", directions=directions)
    study, identity = join(storage)
    assert require_identity(study) == identity


@pytest.mark.parametrize("action", ["show", "apply"])
def test_a_foreign_study_is_neither_shown_nor_applied(
    project: Paths, action: str, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = open_storage(storage_url(project, None), heartbeat=1)
    study = optuna.create_study(
        storage=storage, study_name="rho-beta", directions=["minimize", "maximize"]
    )
    assert main(["tune", action]) == 1
    assert "has no trials yet" in capsys.readouterr().err
    study.tell(study.ask(), [0.0, 0.0])
    assert main(["tune", action]) == 1
    assert "'rho-beta' that rhobeta did not make" in capsys.readouterr().err


def test_a_study_of_version_0_1_is_of_the_same_search(storage: Any) -> None:
    params = params_with(
        tune__objectives={"fvu": "minimize", "l0_at_0.1": "minimize"},
        tune__constraints=["l0_at_0.5 <= 9"],
    )
    today = fingerprint_of(params, DATA)
    old = {"topk.revive" if key == "topk.auxk_coef" else key: v for key, v in today.items()}
    old["tune.objectives"] = {"fvu": "minimize", "l0@0.1": "minimize"}
    old["tune.constraints"] = ["l0@0.5 <= 9"]
    directions = list(params.tune.objectives.values())
    study = optuna.create_study(storage=storage, study_name="old", directions=directions)
    study.set_user_attr("rhobeta", vars(StudyIdentity("id", old, "code")))
    found = identity_of(study)
    assert found is not None
    require_same_search(study, found, today)


def test_a_damaged_database_is_explained_before_it_is_used(storage: Any, paths: Paths) -> None:
    join(storage)
    url = storage_url(paths, None)
    file = paths.store / "optuna.db"
    assert file.stat().st_mode & 0o077 == 0
    with file.open("rb+") as opened:
        # The root of a table that only later work reads.
        opened.seek(4096)
        opened.write(b"\xff" * 64)
    with pytest.raises(RhobetaError, match=f"studies' database {file} cannot be used.*\nClose"):
        open_storage(url, heartbeat=1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trial_params SET param_value = 7",
        "UPDATE trial_params SET distribution_json = '{}'",
        "UPDATE trial_user_attributes SET value_json = '{'",
        "UPDATE trials SET state = 'NONE'",
        "UPDATE trials SET datetime_start = 'now'",
        "UPDATE trials SET number = NULL",
        "UPDATE study_directions SET direction = 'NONE'",
        f"UPDATE study_user_attributes SET value_json = '{'[' * 10_000}'",
    ],
)
def test_entries_that_optuna_cannot_read_are_explained(storage: Any, statement: str) -> None:
    study, _ = join(storage)
    study.set_user_attr("note", 1)
    trial = study.ask({"a": optuna.distributions.CategoricalDistribution([1, 2])})
    trial.set_user_attr("note", 1)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql(statement)
    with pytest.raises(RhobetaError, match=r"that Optuna cannot read: [A-Z]"):
        load_study(storage, study.study_name, params_with())


def test_two_processes_never_claim_one_trial(storage: Any, paths: Paths) -> None:
    study, _ = join(storage)
    for number in range(40):
        study.enqueue_trial({"penalty.rho": 0.01 * (number + 1)})
    url, claimed = storage_url(paths, None), []

    def claim() -> None:
        mine = optuna.load_study(study_name="it", storage=open_storage(url, heartbeat=1))
        claimed.extend(mine.ask().number for _ in range(10))

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == list(range(40))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://me:s3cret@127.0.0.1:1/none", "127.0.0.1:1/none cannot be used"),
        ("nonsense", "cannot be used"),
        ("postgresql://host:port/it", "invalid literal"),
        ("oracle9://me:s3cret@host/x", "cannot be used"),
        ("mysql://me:s3cret@127.0.0.1:1/x", "No module named"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite://", "in memory"),
        ("sqlite+pysqlite://", "in memory"),
        ("sqlite:///file:it?mode=memory&cache=shared&uri=true", "in memory"),
        ("sqlite:////proc/nowhere/it.db", "cannot be used"),
    ],
)
def test_a_database_error_is_explained_without_the_password(
    url: str, told: str, paths: Paths
) -> None:
    with pytest.raises(RhobetaError) as caught:
        open_storage(storage_url(paths, url), heartbeat=1)
    assert told in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_the_environment_goes_before_the_parameter(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert storage_url(paths, None) == f"sqlite:///{paths.store_root}/mlruns/optuna.db"
    elsewhere = replace(paths, store_root=paths.store_root / "main")
    assert storage_url(elsewhere, None).endswith("/main/mlruns/optuna.db")
    assert storage_url(elsewhere, "sqlite:///x: y.db?timeout=9").endswith("/main/x: y.db?timeout=9")
    assert storage_url(paths, "sqlite:////x.db") == "sqlite:////x.db"
    assert storage_url(paths, "postgres://h/d") == "postgresql+psycopg://h/d"
    monkeypatch.setenv(STORAGE_VARIABLE, "postgresql+psycopg2://h/d")
    assert storage_url(paths, "sqlite:///x.db") == "postgresql+psycopg2://h/d"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tune.storage": "postgresql://me:s3cret@127.0.0.1:1/none"}, "cannot be used"),
        ({"runtime.devices": 2}, "a trial runs on one device"),
        ({"runtime.nodes": 2}, "start `rhobeta tune` on each"),
        ({"data.validation_fraction": 0.2}, "made with another data.validation_fraction"),
        ({"tune.space": {"penalty.rh": {"low": 0.1, "high": 0.2}}}, "Did you mean penalty.rho?"),
    ],
)
def test_the_command_refuses_before_any_trial_or_run(
    project: Paths, changes: Any, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    write_params(project.workspace, QUICK | SEARCH | changes)
    assert main(["tune"]) == 1
    said = capsys.readouterr().err
    assert told in said
    assert "s3cret" not in said
    client = MlflowClient(f"sqlite:///{project.store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert client.search_runs(experiments) == []
