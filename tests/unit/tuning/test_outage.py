"""An MLflow server that is away between two trials: the worker waits, and no trial fails for it."""

from dataclasses import replace
from threading import Event
from typing import Any

import pytest
import requests
from mlflow.exceptions import MlflowException

from helpers.searching import RunWorker, asking
from rhobeta.tracking import store as store_module
from rhobeta.tuning import outage as outage_module
from rhobeta.tuning import worker as worker_module
from rhobeta.tuning.study import counts_of
from rhobeta.tuning.worker import run_until_enough


class Flaky:
    """A client whose server does not answer for some calls."""

    def __init__(self, client: Any, *, runs: int, looks: int) -> None:
        self._client = client
        self.runs, self.looks = runs, looks
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def create_run(self, *arguments: Any, **named: Any) -> Any:
        self.runs -= 1
        if self.runs >= 0:
            self._away()
        return self._client.create_run(*arguments, **named)

    def search_experiments(self, *arguments: Any) -> Any:
        self.asked += 1
        if self.asked <= self.looks:
            self._away()
        return self._client.search_experiments(*arguments)

    def _away(self) -> None:
        # As MLflow wraps it.
        words = "API request to http://host failed with exception Connection refused"
        raise MlflowException(words) from requests.ConnectionError("Connection refused")


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Have workers open a store whose server is away for a number of new runs, and of looks."""
    monkeypatch.setattr(outage_module, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(outage_module, "_MOST_SECONDS", 0.02)
    monkeypatch.setattr(worker_module, "_WAIT_SECONDS", 0.01)
    plain = store_module.open_store

    def install(**away: int) -> list[Flaky]:
        clients: list[Flaky] = []

        def opened(paths: Any, experiment: str) -> Any:
            store = plain(paths, experiment)
            clients.append(Flaky(store.client, **away))
            return replace(store, client=clients[-1], pending=paths.store / "pending")

        monkeypatch.setattr(store_module, "open_store", opened)
        return clients

    return install


def test_a_server_that_is_away_makes_no_trial_fail(
    run_worker: RunWorker, flaky: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    study, _, job = run_worker(tune__trials=1)
    # More often than trials may fail before a study is given up.
    clients = flaky(runs=12, looks=5)
    run_until_enough(asking(job, 3))
    assert clients[0].asked >= 12
    counts = counts_of(study)
    assert (counts.finished, counts.failed, counts.waiting, counts.running) == (3, 0, 0, 0)
    trials = study.get_trials()
    # The same values all the time: the trial waits, and no other is drawn.
    assert len({trial.params["penalty.rho"] for trial in trials}) == 3
    said = capsys.readouterr().out
    assert said.count("does not answer (Connection refused)") == 1
    assert said.count("answers again") == 1


def test_a_worker_that_waits_for_a_server_hears_that_it_is_to_end(
    run_worker: RunWorker, flaky: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, _, job = run_worker(tune__trials=1)
    clients = flaky(runs=1000, looks=1000)
    asked_to_end = Event()
    plain = Flaky.search_experiments

    def looked(client: Flaky, *arguments: Any) -> Any:
        if client.asked == 3:
            asked_to_end.set()
        return plain(client, *arguments)

    monkeypatch.setattr(Flaky, "search_experiments", looked)
    with monkeypatch.context() as patch:
        patch.setattr(worker_module.signal, "signal", lambda number, handler: None)
        run_until_enough(asking(job, 3), asked_to_end)
    assert clients[0].asked == 4
    counts = counts_of(study)
    assert (counts.finished, counts.failed, counts.waiting) == (1, 0, 1)


def test_a_store_that_refuses_fails_the_trial(run_worker: RunWorker, flaky: Any) -> None:
    study, _, job = run_worker(tune__trials=1)
    flaky(runs=0, looks=0)

    def refused(*arguments: Any, **named: Any) -> Any:
        raise MlflowException("no such experiment")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Flaky, "create_run", refused)
        run_until_enough(asking(job, 3))
    assert counts_of(study).hopeless
