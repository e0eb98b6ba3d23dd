"""How many workers there are, and what each is started with."""

from typing import Any

import pytest

from helpers import with_changes
from rhobeta.params import Params, check_params
from rhobeta.training.machine import Machine
from rhobeta.tuning import launch
from rhobeta.tuning.progress import in_words
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
    assert Machine(machine().runtime.accelerator).gpus() == 0


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


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.4, "4 s"), (99, "99 s"), (150, "2 min"), (9000, "2.5 h")]
)
def test_times_are_in_the_unit_that_fits(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
