"""Several processes train as one does: the same losses, the same weights."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from helpers.together import CASES, outcome, trained_together
from rhobeta.model.means import LogMeans, Mean
from rhobeta.training.process_group import ProcessGroup

# Of each kind of thing that is made global: logarithms of means, a running mean, silent units.
QUICK = ["kl, float64", "topk, float64"]
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}

Outcomes = Callable[[int, str], Mapping[str, Any]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What came of a case with some number of processes; quick cases come in one start."""
    found: dict[tuple[int, str], Mapping[str, Any]] = {}

    def get(world_size: int, name: str) -> Mapping[str, Any]:
        if (world_size, name) not in found:
            if world_size == 1:
                found[1, name] = outcome(name)
            else:
                names = QUICK if world_size == 2 and name in QUICK else [*CASES]
                together = trained_together(names, world_size, tmp_path_factory.mktemp("ranks"))
                found.update({(world_size, case): value for case, value in together.items()})
        return found[world_size, name]

    return get


def require_equal(outcomes: Outcomes, world_size: int, name: str) -> None:
    alone, together = outcomes(1, name), outcomes(world_size, name)
    tolerance = TOLERANCES[name.rpartition(", ")[2]]
    assert together["world_size"] == world_size
    assert together["best_epoch"] == alone["best_epoch"]
    for key, value in alone["weights"].items():
        gap = (together["weights"][key] - value).abs().max() / value.abs().max()
        assert gap.item() <= tolerance, key
    assert together["history"].keys() == alone["history"].keys()
    for key, column in alone["history"].items():
        assert together["history"][key] == pytest.approx(column, rel=tolerance, abs=1e-15), key


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_train_as_one(outcomes: Outcomes, name: str) -> None:
    require_equal(outcomes, 2, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_train_as_one_whatever_the_penalty(
    outcomes: Outcomes, world_size: int, name: str
) -> None:
    require_equal(outcomes, world_size, name)


def test_the_topk_case_has_units_to_revive(outcomes: Outcomes) -> None:
    """Else it would not show that silent units are those of all processes."""
    dead = outcomes(1, "topk, float64")["history"]["validation_dead_units"]
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
