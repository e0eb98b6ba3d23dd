"""How many workers there are, what each starts with, and how it waits for a server."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from helpers import with_changes
from rhobeta.config.params import Params, check_params
from rhobeta.tuning import workers


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
    monkeypatch.setattr(workers, "cores", lambda: cores)
    assert workers.workers_and_threads(machine(**changes), asked) == expected


def test_each_gpu_gets_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert workers.workers_and_threads(machine(runtime__accelerator="auto"), None) == (4, 1)


def test_a_worker_starts_with_its_threads_and_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert workers.worker_environment(0, 3, 0)["OMP_NUM_THREADS"] == "3"
    assert "CUDA_VISIBLE_DEVICES" not in workers.worker_environment(0, 1, 1)
    devices = [workers.worker_environment(i, 1, 2)["CUDA_VISIBLE_DEVICES"] for i in range(3)]
    assert devices == ["0", "1", "0"]
    # The devices that a scheduler has given.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,GPU-abc")
    devices = [workers.worker_environment(i, 1, 2)["CUDA_VISIBLE_DEVICES"] for i in range(2)]
    assert devices == ["5", "GPU-abc"]


@pytest.mark.parametrize(
    ("states", "stops"),
    [
        ({"failed": 9}, False),
        ({"failed": 10}, True),
        ({"failed": 10, "complete": 5, "pruned": 5}, False),
        ({"lost": 30, "complete": 1}, False),
    ],
)
def test_ten_failures_and_less_success_end_a_worker(
    monkeypatch: pytest.MonkeyPatch, states: dict[str, int], stops: bool
) -> None:
    stopped = []
    study: Any = SimpleNamespace(stop=lambda: stopped.append(True))
    monkeypatch.setattr(workers, "count_states", lambda study: Counter(states))
    workers._stop_without_hope_or_parent(study, None)  # type: ignore[arg-type]
    assert bool(stopped) is stops


def test_a_worker_waits_until_the_server_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter([False, False, False, True])
    monkeypatch.setattr(workers, "_SERVER_LOOK_SECONDS", 0)
    store: Any = SimpleNamespace(
        pending="pending", answers=lambda: next(answers), uri="http://me:s3cret@host"
    )
    workers._wait_for_server(store)
    assert list(answers) == []
    said = capsys.readouterr().out
    assert said.count("does not answer") == 1
    assert "s3cret" not in said
