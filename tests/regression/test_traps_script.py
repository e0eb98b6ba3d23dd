"""The script behind docs/traps.md: its wrong variants are wrong in the way that they claim."""

import dataclasses
import importlib
import math
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest
import torch

from helpers import REPOSITORY
from rhobeta import extensions
from rhobeta.data.batches import pixels_of
from rhobeta.data.samples import Samples
from rhobeta.model.penalties import PENALTIES


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    """The script; what it registers is taken back."""
    before = [dict(table) for table in extensions.TABLES]
    yield importlib.import_module("experiments.traps")
    for name in ("traps", "trap_variants"):
        del sys.modules[f"experiments.{name}"]
    for table, values in zip(extensions.TABLES, before, strict=True):
        table.clear()
        table.update(values)


# A unit of mean 1/2 under the target 1/20.
KL_OF_A_HALF = 0.05 * math.log(0.1) + 0.95 * math.log(1.9)


@pytest.mark.parametrize(
    ("kind", "code", "value"),
    [
        ("batch_kl", [[0.2, 0.05], [0.8, 0.05]], KL_OF_A_HALF),
        ("eps_kl", [[0.2, 0.05], [0.8, 0.05]], KL_OF_A_HALF),
        ("clamped_kl", [[0.2, 0.05], [0.8, 0.05]], KL_OF_A_HALF),
        ("kl_over_features", [[0.2, 0.8], [0.05, 0.05]], KL_OF_A_HALF),
        ("kl_of_sigmoid", [[0.0, 0.0], [0.0, 0.0]], 2 * KL_OF_A_HALF),
        ("kl_of_sigmoid_over_features", [[0.0] * 3] * 2, 2 * KL_OF_A_HALF),
    ],
)
def test_wrong_penalty_by_hand(
    script: ModuleType, kind: str, code: list[list[float]], value: float
) -> None:
    found = PENALTIES[kind](torch.tensor(code))
    assert found.item() == pytest.approx(value, rel=1e-5)


def test_mean_of_kls_is_of_groups_of_32(script: ModuleType) -> None:
    code = torch.cat([torch.full((32, 1), 0.05), torch.full((32, 1), 0.5)])
    assert script.mean_of_kls(code).item() == pytest.approx(KL_OF_A_HALF / 2, rel=1e-5)


def test_other_definitions_of_fvu_fail_the_mean_image(script: ModuleType) -> None:
    x = torch.rand(64, 9, dtype=torch.float64).mul(torch.linspace(0.1, 1, 9)).numpy()
    mean = x.mean(0)
    scores = [measure(x, mean + 0 * x, mean) for measure in script.FVU_VARIANTS.values()]
    assert scores[0] == pytest.approx(1)
    assert all(abs(score - 1) > 0.02 for score in scores[1:])


@pytest.mark.slow
def test_every_run_of_the_script(
    script: ModuleType,
    digits: Samples,
    test_digits: Samples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = {
        trap: tuple(dataclasses.replace(run, epochs=1) for run in runs)
        for trap, runs in script.TRAPS.items()
    }
    monkeypatch.setattr(script, "TRAPS", short)
    pixels = pixels_of(digits.values), pixels_of(test_digits.values)
    text = script.report(script.Data(digits, test_digits, test_digits, *pixels))
    committed = (REPOSITORY / "experiments" / "traps.md").read_text()
    first_cells = [
        [line.split("|")[1] for line in lines.splitlines() if line.startswith("|")]
        for lines in (text, committed)
    ]
    assert first_cells[0] == first_cells[1]
