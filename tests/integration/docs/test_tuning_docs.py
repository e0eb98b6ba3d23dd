"""docs/tuning.md and docs/scaling.md are true: metrics, parameters and commands exist."""

import os
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values, with_changes
from helpers.injected import wait_until
from rhobeta.cli import main
from rhobeta.config.params import check_params, flatten
from rhobeta.config.search import METRICS
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


def recipes() -> list[str]:
    blocks = re.findall(r"(?:^    .*\n|^\n(?=    ))+", SCALING, re.MULTILINE)
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE).strip("\n") for block in blocks]


def test_plain_ssh_does_not_wait_for_a_host_s_search(tmp_path: Path) -> None:
    (recipe,) = [block for block in recipes() if "ssh " in block]
    (tmp_path / "rhobeta" / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "rhobeta" / ".venv" / "bin" / "activate").touch()
    (tmp_path / "bin").mkdir()
    programs = {
        "git": "exit 0",
        # As sshd does: it has ended when nobody holds its output any more.
        "ssh": 'cd "$HOSTS" && bash -c "$2" | cat',
        "rhobeta": 'test $# -gt 1 || echo $$ >> "$HOSTS/ids"\n'
        'echo "$@" "$RHOBETA_TUNE_STORAGE" >> "$HOSTS/started"\n'
        "test $# -gt 1 || exec sleep 60",
    }
    for name, body in programs.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/bash\n{body}\n")
        program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "HOSTS": str(tmp_path),
        STORAGE_VARIABLE: "db",
    }
    try:
        command = ["bash", "-ec", recipe]
        subprocess.run(command, env=environment, check=True, timeout=30, capture_output=True)
        wait_until(lambda: (tmp_path / "started").read_text().count("tune") == 4)
    finally:
        for number in (tmp_path / "ids").read_text().split():
            os.kill(int(number), signal.SIGKILL)
    started = sorted((tmp_path / "started").read_text().splitlines())
    assert started == ["tune --workers 2 db", "tune db", "tune db", "tune db"]


def test_the_recipes_are_well_formed() -> None:
    plain = recipes()
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
    assert shell
    for block in shell:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)
