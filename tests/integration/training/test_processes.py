"""Several processes train as one does: the same losses, the same weights."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers.together import CASES, ENDLESS, outcome, start_ranks, trained_together
from rhobeta.model.means import LogMeans, Mean
from rhobeta.training.process_group import ProcessGroup

CHECKED = ["kl, float32", *(name for name in CASES if "float64" in name)]
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


@pytest.fixture(scope="module")
def of_three(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The outcome of each case with three tasks of SLURM; one start trains all."""
    return trained_together(CHECKED, 3, tmp_path_factory.mktemp("ranks"))


def require_equal(together: Mapping[str, Any], name: str) -> None:
    alone = outcome(name)
    tolerance = TOLERANCES[name.rpartition(", ")[2]]
    assert together["world_size"] == 3
    assert together["best_epoch"] == alone["best_epoch"]
    for key, value in alone["weights"].items():
        gap = (together["weights"][key] - value).abs().max() / value.abs().max()
        assert gap.item() <= tolerance, key
    assert together["history"].keys() == alone["history"].keys()
    for key, column in alone["history"].items():
        assert together["history"][key] == pytest.approx(column, rel=tolerance, abs=1e-15), key


@pytest.mark.slow
@pytest.mark.parametrize("name", CHECKED)
def test_three_tasks_of_slurm_train_as_one(of_three: Mapping[str, Any], name: str) -> None:
    require_equal(of_three[name], name)


@pytest.mark.slow
def test_processes_with_other_parameters_are_refused(tmp_path: Path) -> None:
    ranks = start_ranks([["kl, float64"], ["running mean, float64"]], tmp_path)
    first, _ = (rank.communicate(timeout=120)[0] for rank in ranks)
    assert [rank.returncode for rank in ranks] == [1, 1]
    assert "were given different parameters or data" in first
    assert "rank 1" in first


@pytest.mark.slow
def test_a_hung_process_ends_the_others_within_a_minute(tmp_path: Path) -> None:
    ranks = start_ranks([[ENDLESS]] * 2, tmp_path)
    assert ranks[0].stdout is not None
    assert "epoch 1/100000" in ranks[0].stdout.readline()
    ranks[1].send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    output, _ = ranks[0].communicate(timeout=90)
    ranks[1].kill()
    ranks[1].communicate()
    assert time.monotonic() - stopped < 60
    assert ranks[0].returncode == 1
    assert "did not answer for 30 seconds" in output


def test_the_topk_case_has_inactive_units() -> None:
    """So that it shows that inactive units are those of all processes."""
    dead = outcome("topk, float64")["history"]["validation_dead_units"]
    assert dead[0] > 0


def test_one_process_alone_is_a_group_that_changes_nothing() -> None:
    alone = ProcessGroup()
    means = LogMeans(torch.tensor([-1.0]), torch.tensor([-2.0]))
    assert alone.mean(means, 1.0) is means
    mean = Mean(torch.tensor(3.0))
    assert alone.mean(mean, 1.0) is mean
    values, flags = torch.tensor([1.0, 2.0]), torch.tensor([True, False])
    assert alone.total(values) is values
    assert alone.largest(values) is values
    assert alone.any(flags) is flags
    assert alone.joined("one", str.__add__) == "one"
