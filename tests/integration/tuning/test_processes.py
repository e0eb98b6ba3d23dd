"""The command with real worker processes: they share a study, die, are interrupted, continue."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from helpers import QUICK, write_params
from helpers.postgresql import PASSWORD, postgresql_server
from helpers.searching import SEARCH
from rhobeta.paths import Paths
from rhobeta.tuning.storage import STORAGE_VARIABLE

pytestmark = pytest.mark.slow

STUDY = "rho-beta"
# A trial takes a second or two: long enough to be interrupted. A worker of a busy machine may be
# late by some seconds; nine count as lost.
LONG = {"training.epochs": 80, "tune.heartbeat": 3}


class Command:
    """`rhobeta tune` in a process group of its own, as a terminal would start it."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rhobeta", "tune", *arguments],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def ended(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=480)
        return self.process.returncode, output

    def workers(self) -> list[int]:
        """Process ids of the workers; multiprocessing's own helper process is none."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                words = (status.parent / "cmdline").read_bytes()
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and b"spawn_main" in words:
                found.append(int(status.parent.name))
        return found


Start = Callable[..., Command]


@pytest.fixture
def start(project: Paths) -> Iterator[Start]:
    """Start the command on changed parameters; what is left of it at the end is killed."""
    started: list[Command] = []

    def run(*arguments: str, changes: dict[str, Any] | None = None, **environment: str) -> Command:
        write_params(project.workspace, QUICK | SEARCH | (changes or {}))
        started.append(Command(project.workspace, *arguments, **environment))
        return started[-1]

    yield run
    for command in started:
        if command.process.poll() is None:
            os.killpg(command.process.pid, signal.SIGKILL)
            command.process.communicate()


def _study(paths: Paths, url: str | None = None) -> optuna.Study:
    storage = url or f"sqlite:///{paths.store / 'optuna.db'}"
    return optuna.load_study(study_name=STUDY, storage=storage)


def _numbers(study: optuna.Study, *states: TrialState) -> list[int]:
    return [trial.number for trial in study.get_trials(states=states)]


def _wait_for(met: Callable[[], Any], seconds: float = 240) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if found := met():
                return found
        except KeyError:
            # The study is not there yet.
            pass
        time.sleep(0.3)
    raise AssertionError("it did not come to pass")


def _runs(paths: Paths) -> dict[str, Any]:
    client = MlflowClient(f"sqlite:///{paths.store / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return {run.info.run_id: run for run in client.search_runs(experiments)}


def test_the_trial_of_a_killed_worker_runs_again(start: Start, project: Paths) -> None:
    command = start("--workers", "2", "--trials", "7", changes=LONG)
    assert _wait_for(lambda: len(_numbers(_study(project), TrialState.RUNNING)) == 2)
    os.kill(command.workers()[0], signal.SIGKILL)
    status, output = command.ended()
    assert status == 0, output
    assert "has ended with exit code -9" in output
    study = _study(project)
    done = len(_numbers(study, TrialState.COMPLETE))
    if _numbers(study, TrialState.WAITING):
        # The other worker was done before the heartbeats were overdue: the next command repeats it.
        status, output = start("--workers", "1", "--trials", str(done + 1), changes=LONG).ended()
        assert status == 0, output
    (lost,) = study.get_trials(states=(TrialState.FAIL,))
    (again,) = [t for t in study.get_trials() if "retry_history" in t.system_attrs]
    assert again.system_attrs["retry_history"] == [lost.number]
    assert again.state == TrialState.COMPLETE
    assert lost.params.items() <= again.params.items()
    assert len(_numbers(study, TrialState.COMPLETE)) >= 7
    assert _numbers(study, TrialState.RUNNING, TrialState.WAITING) == []
    runs = _runs(project)
    trials = [r for r in runs.values() if r.data.tags["rhobeta.stage"] == "trial"]
    finished = {int(r.data.tags["rhobeta.trial"]) for r in trials if r.info.status == "FINISHED"}
    # The kill may come after the run has ended and before the study is told.
    assert sorted(finished - {lost.number}) == _numbers(study, TrialState.COMPLETE)
    if run_id := lost.user_attrs.get("mlflow_run_id"):
        assert runs[run_id].info.status in ("KILLED", "FINISHED")
    (parent,) = [r for r in runs.values() if r.data.tags["rhobeta.stage"] == "tune"]
    assert parent.info.status == "FINISHED"
    complete = len(_numbers(study, TrialState.COMPLETE))
    assert parent.data.metrics["trials/complete"] == complete


def test_ctrl_c_ends_workers_and_the_command_continues(start: Start, project: Paths) -> None:
    command = start("--workers", "2", "--trials", "5", changes=LONG)
    _wait_for(lambda: _numbers(_study(project), TrialState.COMPLETE))
    workers = command.workers()
    os.killpg(command.process.pid, signal.SIGINT)
    status, output = command.ended()
    assert status == 130, output
    assert "command continues it" in " ".join(output.split())
    assert "Traceback" not in output
    assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
    study = _study(project)
    done = _numbers(study, TrialState.COMPLETE)
    assert 1 <= len(done) < 5
    assert _numbers(study, TrialState.RUNNING) == []
    assert {run.info.status for run in _runs(project).values()} <= {"FINISHED", "KILLED"}
    waiting = _numbers(study, TrialState.WAITING)

    status, output = start("--workers", "1", "--trials", "5", changes=LONG).ended()
    assert status == 0, output
    assert f"{len(done)} finished before" in output
    study = _study(project)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert len(complete) == 5
    assert len({trial.params["penalty.rho"] for trial in complete}) == len(complete)
    assert set(done) | set(waiting) <= set(_numbers(study, TrialState.COMPLETE))
    (parent,) = [r for r in _runs(project).values() if r.data.tags["rhobeta.stage"] == "tune"]
    assert parent.info.status == "FINISHED"


def test_two_commands_share_a_study_in_postgresql(start: Start, project: Paths) -> None:
    with postgresql_server() as url:
        # As two machines would: at once, on a database without tables.
        words = ("--workers", "1", "--trials", "5")
        commands = [start(*words, **{STORAGE_VARIABLE: url}) for _ in range(2)]
        for command in commands:
            status, output = command.ended()
            assert status == 0, output
            assert PASSWORD not in output
            assert "database postgresql+psycopg://127.0.0.1:" in output
        study = _study(project, url.replace("postgresql:", "postgresql+psycopg:"))
        trials = study.get_trials(states=(TrialState.COMPLETE,))
        # Each of two workers may have one more trial than it needed.
        assert 5 <= len(trials) <= 6
        assert _numbers(study, TrialState.RUNNING, TrialState.WAITING) == []
        assert len({trial.params["penalty.rho"] for trial in trials}) == len(trials)
        runs = _runs(project)
        mine = {trial.user_attrs["mlflow_run_id"] for trial in trials}
        assert {runs[run_id].info.status for run_id in mine} == {"FINISHED"}
        (parent,) = [r for r in runs.values() if r.data.tags["rhobeta.stage"] == "tune"]
        assert {runs[run_id].data.tags["mlflow.parentRunId"] for run_id in mine} == {
            parent.info.run_id
        }
        assert not [r for r in runs.values() if PASSWORD in str(r.to_dictionary())]
