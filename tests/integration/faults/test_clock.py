"""The clock jumps: results are the same, and MLflow's curves are in the order of their steps."""

import itertools
import shutil
import time

import pytest

from helpers import QUICK, StartAfter, write_params
from helpers.injected import outputs, runs_of, started, succeeds
from rhobeta.paths import Paths

STEPS = {"training.epochs": 6}


def _curve(paths: Paths, run_id: str, name: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{paths.store}/mlflow.db")
    return [(point.step, point.value) for point in client.get_metric_history(run_id, name)]


def _require_same_run(paths: Paths, expected: dict[str, bytes]) -> None:
    assert outputs(paths) == expected
    *_, first, second = sorted(runs_of(paths), key=lambda run: run.info.end_time or 0)
    assert {first.info.status, second.info.status} == {"FINISHED"}
    for name in ("train/loss", "validation/mse"):
        curve = _curve(paths, second.info.run_id, name)
        assert curve == _curve(paths, first.info.run_id, name)
        assert [step for step, _ in curve] == list(range(1, 7))
    assert first.data.metrics == second.data.metrics


@pytest.mark.slow
def test_a_clock_that_jumps_in_training_changes_nothing(
    paths: Paths, start_after: StartAfter, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_after("preprocess")
    write_params(paths.workspace, QUICK | STEPS)
    succeeds("train")
    expected = outputs(paths)
    jumps = itertools.cycle([3600.0, -7200.0, 86400.0, 0.0, -400.0])
    clocks = {name: getattr(time, name) for name in ("time", "time_ns")}
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: clocks["time"]() + next(jumps))
        patch.setattr(time, "time_ns", lambda: clocks["time_ns"]() + int(next(jumps) * 1e9))
        succeeds("train")
    _require_same_run(paths, expected)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
@pytest.mark.parametrize("clock", ["1990-01-01 00:00:00", "+30y x100"])
def test_a_wrong_clock_of_the_whole_system_changes_nothing(
    paths: Paths, start_after: StartAfter, clock: str
) -> None:
    start_after("preprocess")
    write_params(paths.workspace, QUICK | STEPS)
    succeeds("train")
    expected = outputs(paths)
    command = ("faketime", "-f", clock, "rhobeta", "train")
    with started(*command, folder=paths.workspace) as process:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    _require_same_run(paths, expected)
