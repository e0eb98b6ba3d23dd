"""The section registry of params.yaml."""

from typing import Any

import pytest

from helpers import shipped_values, with_changes
from rhobeta.config.bounds import Bound
from rhobeta.config.params import check_params
from rhobeta.errors import RhobetaError


def test_thresholds_and_margins_are_read() -> None:
    registry = check_params(
        with_changes(
            {
                "registry.thresholds": ["test/probe>=.9", "test/dead_units <= 3"],
                "registry.against_champion": ["test/fvu <= 1e-2"],
            }
        ),
        where="it",
    ).registry
    assert registry.bounds == [
        Bound("test/probe", False, 0.9),
        Bound("test/dead_units", True, 3),
    ]
    assert registry.margins == [Bound("test/fvu", True, 0.01)]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (
            {"registry.thresholds": ["test/mse < 1"]},
            "registry.thresholds: found 'test/mse < 1', allowed: METRIC <= NUMBER",
        ),
        (
            {"registry.thresholds": ["test/mse <= low"]},
            "registry.thresholds: found 'low' in 'test/mse <= low', allowed: a number",
        ),
        (
            {"registry.thresholds": ["mse <= 1"]},
            "registry.thresholds: found the metric 'mse', allowed: a metric of a run",
        ),
        (
            {"registry.thresholds": ["test/mse <= 1", "test/mse <= 2"]},
            "which bounds a metric twice",
        ),
        (
            {"registry.against_champion": ["test/mse <= 1", "test/mse >= 0"]},
            "registry.against_champion: found ['test/mse <= 1', 'test/mse >= 0'], which bounds",
        ),
        ({"registry.name": "a/b"}, "registry.name: found 'a/b', allowed: a name without"),
        ({"registry.name": "model@champion"}, "registry.name: found 'model@champion'"),
        ({"registry.name": ".."}, "registry.name: found '..'"),
        (
            {"registry.thresholds": ["test/l0@0.1 <= 3"]},
            "registry.thresholds: found test/l0@0.1, which is test/l0_at_0.1 since version 0.2",
        ),
        ({"registry.treshold": 1}, "registry.treshold: unknown key. Did you mean"),
    ],
)
def test_invalid_rules_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(RhobetaError) as caught:
        check_params(with_changes(changes), where="params.yaml")
    assert fault in str(caught.value)


def test_two_thresholds_may_enclose_a_metric() -> None:
    enclosed = ["test/l0_at_0.1 >= 5", "test/l0_at_0.1 <= 20"]
    check_params(with_changes({"registry.thresholds": enclosed}), where="it")


def test_missing_section_is_refused() -> None:
    values = shipped_values()
    del values["registry"]
    with pytest.raises(RhobetaError, match="registry: missing, allowed: a section with name"):
        check_params(values, where="it")
