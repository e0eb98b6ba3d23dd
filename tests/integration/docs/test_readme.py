"""The README is true: its commands exist, its parameters are known, its numbers are the run's."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, shipped_values, with_changes
from rhobeta.config.params import check_params, flatten
from rhobeta.config.presets import preset_names
from rhobeta.reporting.tables import result_rows

README = (REPOSITORY / "README.md").read_text()
BLOCKS = [
    line.split("  #")[0].strip()
    for line in README.splitlines()
    if line.startswith("    ") and line.strip()
]
INLINE = re.findall(r"`([^`\n]+)`", README)
COMMANDS = sorted(
    {
        part.strip()
        for text in (*BLOCKS, *INLINE)
        for part in text.split("&&")
        if part.strip().split(" ")[0] in ("make", "rhobeta", "dvc")
    }
)


def test_there_are_commands_to_check() -> None:
    assert {"make repro", "make test", "make ui", "dvc repro"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_exists(command: str) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        checked = ["make", "--dry-run", *words[1:2]]
    elif words[0] == "dvc":
        # An experiment would run; its parameters are checked below, its options here.
        options = [word for word in words[1:] if word.startswith("--")]
        subcommand = [word for word in words[1:3] if word.isalpha()]
        page = subprocess.run(
            ["dvc", *subcommand, "--help"], capture_output=True, text=True, check=True
        ).stdout
        assert all(option in page for option in options)
        return
    else:
        checked = [*words[:2], "--help"]
    page = subprocess.run(checked, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    if words[0] == "rhobeta":
        assert all(option in page.stdout for option in words[2:] if option.startswith("--"))


def test_presets_that_are_named_exist() -> None:
    named = re.findall(r"--preset (\S+)", README)
    assert named
    assert set(named) <= set(preset_names(REPOSITORY / "presets"))


def test_parameters_that_are_named_exist_and_their_values_are_allowed() -> None:
    changes = dict(re.findall(r"-S (\S+?)=(\S+)", README))
    assert changes
    values = {name: YAML(typ="safe").load(text) for name, text in changes.items()}
    check_params(with_changes(values), where="README.md")
    known = flatten(check_params(shipped_values(), where="params.yaml"))
    sections = {name.split(".")[0] for name in known}
    for name in re.findall(r"`(\w+\.\w+)[:`]", README):
        if name.split(".")[0] in sections:
            assert name in known, name


def test_the_table_is_the_committed_run_s() -> None:
    metrics = json.loads((REPOSITORY / "reports" / "metrics.json").read_text())
    expected = [
        f"| {row.name} | {row.value} | {row.baseline} | {row.verdict} |"
        for row in result_rows(metrics)
    ]
    table = [line for line in README.splitlines() if line.startswith("|")][2:]
    assert table == [re.sub(r" +", " ", line) for line in expected]


def test_the_committed_numbers_are_of_the_committed_parameters() -> None:
    lock = YAML(typ="safe").load((REPOSITORY / "dvc.lock").read_text())
    shipped = flatten(check_params(shipped_values(), where="params.yaml"))
    for stage in lock["stages"].values():
        for name, value in stage["params"]["params.yaml"].items():
            nested = value if isinstance(value, dict) else {None: value}
            for key, locked in nested.items():
                assert shipped[name if key is None else f"{name}.{key}"] == locked


def test_links_and_pictures_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (REPOSITORY / target).is_file(), target
    for target in re.findall(r"`((?:src|data|models|reports|benchmarks|docs)/[\w/.]*)`", README):
        made = subprocess.run(
            ["git", "check-ignore", "-q", target], cwd=REPOSITORY, check=False
        ).returncode
        assert Path(REPOSITORY, target).exists() or made == 0, target


def test_it_fits_two_screens() -> None:
    assert len(README.splitlines()) <= 110
