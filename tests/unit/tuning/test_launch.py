"""How many workers there are, and what each is started with."""

from types import SimpleNamespace
from typing import Any

import pytest

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.training.devices import gpus
from rhobeta.tuning import launch, progress
from rhobeta.tuning.progress import in_words
from rhobeta.tuning.results import Results, Row
from rhobeta.tuning.study import Counts
from rhobeta.tuning.worker import environment_of_worker


def machine(**changes: Any) -> Params:
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return check_params(with_changes({"runtime.accelerator": "cpu"} | named), where="test")


@pytest.mark.parametrize(
    ("cores", "changes", "asked", "expected"),
    [
        (8, {}, None, (8, 1)),
        (8, {"runtime__threads": 4}, None, (2, 4)),
        (2, {"runtime__threads": 4}, None, (1, 4)),
        (8, {"tune__workers": 3}, None, (3, 1)),
        (8, {"tune__workers": 3}, 5, (5, 1)),
    ],
)
def test_workers_fill_the_cores_and_no_more(
    monkeypatch: pytest.MonkeyPatch, cores: int, changes: Any, asked: Any, expected: Any
) -> None:
    monkeypatch.setattr(launch, "cores", lambda: cores)
    assert launch.workers_and_threads(machine(**changes), asked) == expected


def test_gpus_have_a_worker_each(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert launch.workers_and_threads(machine(runtime__accelerator="auto"), None) == (4, 1)
    assert gpus(machine().runtime.accelerator) == 0


def test_a_worker_s_environment_holds_its_threads_and_its_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert environment_of_worker(0, 3, 0)["OMP_NUM_THREADS"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in environment_of_worker(0, 1, 1)
    devices = [environment_of_worker(i, 1, 2)["CUDA_VISIBLE_DEVICES"] for i in range(3)]
    assert devices == ["0", "1", "0"]
    # What a scheduler has given is what is shared out.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    devices = [environment_of_worker(i, 1, 2)["CUDA_VISIBLE_DEVICES"] for i in range(2)]
    assert devices == ["5", "GPU-abc"]


def test_who_waits_is_told_the_best_so_far_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    shown = progress.Progress(40, 10, "study it")
    clock[0] += 60
    counts = Counts(complete=20, pruned=0, failed=1, lost=2, running=2, waiting=0)
    rows = [
        Row(number, "complete", {}, {"fvu": fvu, "gini": 0.5}, True, "", "")
        for number, fvu in enumerate([0.3, 0.21234])
    ]
    objectives = {"fvu": "minimize", "gini": "maximize"}
    best = progress.best_so_far(Results(objectives, rows, [], chosen=1))
    shown.show(counts, best)
    shown.close()
    # Ten in a minute, twenty to go.
    assert capsys.readouterr().out == (
        "study it: 20 of 40 finished, 1 failed, 2 lost,"
        " best so far fvu 0.2123, gini 0.5 (trial 1), 2 min left\n"
    )
    assert progress.best_so_far(Results(objectives, [], [])) == ""


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (99, "99 s"), (150, "2 min"), (9000, "2.5 h")]
)
def test_times_are_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
