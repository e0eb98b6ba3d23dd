"""Who has a trial: claimed by one worker, put back as often as workers are interrupted."""

import threading
import time
from collections.abc import Callable
from threading import Event
from typing import Any

import pytest
from mlflow import MlflowClient
from optuna.storages._rdb.models import TrialModel
from optuna.trial import TrialState, create_trial

from helpers.searching import RunWorker, asking
from rhobeta.paths import Paths
from rhobeta.tuning import trial as trial_module
from rhobeta.tuning.queue import Queue
from rhobeta.tuning.space import distributions_of
from rhobeta.tuning.storage import MOST_RETRIES, open_storage
from rhobeta.tuning.study import RUN, counts_of, load_study
from rhobeta.tuning.worker import Job, run_and_tell, run_until_enough, surroundings_of

VALUES = {"penalty.rho": 0.1, "penalty.beta": 0.001}


def opened(job: Job) -> tuple[Any, Any]:
    storage = open_storage(job.url, heartbeat=1)
    return load_study(storage, job.study, job.params), storage


def end_status(paths: Paths, run_id: str) -> tuple[str, str]:
    run = MlflowClient(f"sqlite:///{paths.store / 'mlflow.db'}").get_run(run_id)
    return run.info.status, run.data.tags.get("rhobeta.error", "")


def both_at_once(job: Job, do: Callable[[Queue], Any], monkeypatch: pytest.MonkeyPatch) -> list:
    """Do it in two threads, each with a connection of its own, as slowly as to overlap."""
    plain = TrialModel.find_or_raise_by_id.__func__

    def slowly(cls: Any, trial_id: int, session: Any, for_update: bool = False) -> Any:
        found = plain(cls, trial_id, session, for_update)
        if for_update:
            # Between the look at the state and its change.
            time.sleep(0.5)
        return found

    monkeypatch.setattr(TrialModel, "find_or_raise_by_id", classmethod(slowly))
    queues = [Queue(*opened(job), job.url) for _ in range(2)]
    came: list[Any] = []
    threads = [threading.Thread(target=lambda q=q: came.append(do(q))) for q in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return came


def test_two_workers_never_claim_one_trial(
    run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _, job = run_worker(tune__trials=1)
    study.enqueue_trial(VALUES)
    trials = both_at_once(job, lambda queue: queue.claim(), monkeypatch)
    assert sorted(trial.number for trial in trials) == [1, 2]


@pytest.mark.slow
def test_two_workers_never_put_one_lost_trial_back_twice(
    run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _, job = run_worker(tune__trials=1)
    lost = study.ask()
    study._storage.record_heartbeat(lost._trial_id)
    time.sleep(5)
    both_at_once(job, lambda queue: queue.tend(), monkeypatch)
    assert counts_of(study).waiting == 1


def test_interruptions_do_not_use_up_the_retries_for_lost_workers(
    run_worker: RunWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, job = run_worker(tune__trials=1)
    study, storage = opened(job)
    around = surroundings_of(job, Event())

    def interrupted(*arguments: Any) -> Any:
        raise SystemExit

    often = MOST_RETRIES + 2
    with monkeypatch.context() as patch:
        patch.setattr(trial_module, "train_once", interrupted)
        for _ in range(often):
            with pytest.raises(SystemExit):
                run_and_tell(study, storage, study.ask(), around)
    counts = counts_of(study)
    assert (counts.finished, counts.lost, counts.failed, counts.waiting) == (1, often, 0, 1)
    run_until_enough(asking(job, 2))
    trials = study.get_trials()
    assert trials[-1].state == TrialState.COMPLETE
    assert {frozenset(trial.params.items()) for trial in trials[1:]} == {
        frozenset(trials[-1].params.items())
    }
    # Had its worker been lost then, it would have had all its retries.
    assert "retry_history" not in trials[-1].system_attrs


def test_who_is_interrupted_after_it_was_taken_for_lost_leaves_it_to_the_other(
    run_worker: RunWorker, project: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, job = run_worker(tune__trials=1)
    study, storage = opened(job)

    def taken(*arguments: Any) -> Any:
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        raise SystemExit

    monkeypatch.setattr(trial_module, "train_once", taken)
    trial = study.ask()
    with pytest.raises(SystemExit):
        run_and_tell(study, storage, trial, surroundings_of(job, Event()))
    assert counts_of(study).waiting == 0
    status, reason = end_status(project, study.get_trials()[1].user_attrs[RUN])
    assert (status, "taken for lost" in reason) == ("KILLED", True)


@pytest.mark.parametrize(("before", "again"), [(MOST_RETRIES - 1, True), (MOST_RETRIES, False)])
@pytest.mark.slow
def test_a_trial_whose_workers_are_lost_again_and_again_is_given_up(
    run_worker: RunWorker, project: Paths, before: int, again: bool
) -> None:
    study, params, job = run_worker(tune__trials=1)
    around = surroundings_of(job, Event())
    run = around.store.client.create_run(around.store.experiment_id)
    study.add_trial(
        create_trial(
            state=TrialState.RUNNING,
            params=VALUES,
            distributions=distributions_of(params),
            user_attrs={RUN: run.info.run_id},
            # Numbers of trials that stand for those that were lost before.
            system_attrs={"retry_history": list(range(100, 100 + before))},
        )
    )
    run_until_enough(asking(job, 3))
    trials = study.get_trials()
    assert trials[1].state == TrialState.FAIL
    counts = counts_of(study)
    assert (counts.finished, counts.failed, counts.running, counts.waiting) == (
        3,
        int(not again),
        0,
        0,
    )
    status, reason = end_status(project, run.info.run_id)
    if again:
        assert trials[1].number in trials[-1].system_attrs["retry_history"]
        assert (status, "runs it again" in reason) == ("KILLED", True)
    else:
        assert (status, "it is not run again" in reason) == ("FAILED", True)
