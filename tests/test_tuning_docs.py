"""docs/tuning.md and docs/scaling.md are true: metrics, parameters and commands exist."""

import re
import shlex
import subprocess

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values, with_changes
from rhobeta.cli import main
from rhobeta.param_tune import METRICS
from rhobeta.params import check_params, flatten
from rhobeta.tuning.storage import STORAGE_VARIABLE

TUNING = (REPOSITORY / "docs" / "tuning.md").read_text()
SCALING = (REPOSITORY / "docs" / "scaling.md").read_text()
KNOWN = flatten(check_params(shipped_values(), where="params.yaml"))


def test_every_metric_is_explained() -> None:
    table = "\n".join(line for line in TUNING.splitlines() if line.startswith("| `"))
    assert set(METRICS) <= set(re.findall(r"`([\w@.]+)`", table))


def test_parameters_that_are_named_exist() -> None:
    named = set(re.findall(r"`((?:tune|runtime|training)\.\w+)[:`]", TUNING + SCALING))
    assert len(named) > 8
    assert named <= set(KNOWN)
    assert STORAGE_VARIABLE in SCALING


def test_settings_that_are_shown_are_allowed() -> None:
    shown = re.findall(r"^    (objectives|constraints): (.+)$", TUNING, re.MULTILINE)
    assert {name for name, _ in shown} == {"objectives", "constraints"}
    changes = {f"tune.{name}": YAML(typ="safe").load(text) for name, text in shown}
    rules = re.findall(r"^- `(knee|best [^`]+)`", TUNING, re.MULTILINE)
    assert len(rules) == 2
    for rule in rules:
        check_params(with_changes(changes | {"tune.choose": rule}), where="docs/tuning.md")


def test_commands_that_are_shown_exist(capsys: pytest.CaptureFixture[str]) -> None:
    found = re.findall(r"\brhobeta tune(?: (?:apply|show|--trials \d+|--workers \d+))*", TUNING)
    assert {"rhobeta tune", "rhobeta tune apply", "rhobeta tune show"} <= set(found)
    with pytest.raises(SystemExit):
        main(["tune", "--help"])
    page = capsys.readouterr().out
    words = {word for command in found for word in shlex.split(command)[2:] if not word.isdigit()}
    assert all(word in page for word in words)


def test_the_recipes_are_well_formed() -> None:
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", SCALING, re.MULTILINE)
    plain = [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in blocks]
    jobs = [block for block in plain if block.startswith("apiVersion")]
    containers = []
    for job in jobs:
        spec = YAML(typ="safe").load(job)
        containers += spec["spec"]["template"]["spec"]["containers"]
    training, container = containers
    assert training["command"][-1].endswith("exec rhobeta train")
    assert container["command"] == ["rhobeta", "tune", "--workers", "1"]
    assert STORAGE_VARIABLE in {variable["name"] for variable in container["env"]}
    shell = [block for block in plain if "rhobeta t" in block and block not in jobs]
    assert len(shell) == 7
    for block in shell:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
