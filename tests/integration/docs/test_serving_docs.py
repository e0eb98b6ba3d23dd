"""docs/serving.md is true: its commands, parameters and outputs exist."""

import re
import shlex

import pytest

from helpers import REPOSITORY, shipped_values, with_changes
from rhobeta.cli.command import make_parser
from rhobeta.config.params import check_params, flatten
from rhobeta.tracking.package import OUTPUTS

TEXT = (REPOSITORY / "docs" / "serving.md").read_text()
COMMANDS = sorted(
    set(re.findall(r"^    (rhobeta .+)$|`(rhobeta \w+ --[^`]+)`", TEXT, re.MULTILINE))
)


@pytest.mark.parametrize("command", [first or second for first, second in COMMANDS])
def test_every_command_is_understood(command: str) -> None:
    make_parser().parse_args(shlex.split(command)[1:])


def test_named_outputs_and_parameters_exist() -> None:
    assert len(COMMANDS) >= 6
    assert re.findall(r"^\| `(\w+)`", TEXT, re.MULTILINE) == ["output", "all", *list(OUTPUTS)[1:]]
    known = flatten(check_params(shipped_values(), where="params.yaml"))
    named = set(re.findall(r"`(registry\.\w+)`", TEXT))
    assert named == {name for name in known if name.startswith("registry.")}


def test_rules_that_are_shown_are_allowed() -> None:
    shown = re.findall(r"`(\w+/\w+ [<>]= [\d.-]+)`", TEXT)
    assert len(shown) == 3
    for key in ("thresholds", "against_champion"):
        check_params(with_changes({f"registry.{key}": shown[-2:]}), where="docs/serving.md")
