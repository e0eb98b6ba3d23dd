"""Every page: its commands, parameters, presets, links and pictures exist."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from helpers import REPOSITORY, shipped_values
from rhobeta.cli import main
from rhobeta.config.params import check_params, flatten
from rhobeta.config.presets import preset_names

PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    REPOSITORY / "SECURITY.md",
    *sorted(REPOSITORY.glob("docs/*.md")),
    REPOSITORY / "data" / "own" / "README.md",
]
KNOWN = flatten(check_params(shipped_values(), where="params.yaml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY))
)


def _commands(page: Path) -> list[str]:
    """The commands in code: indented or fenced lines and inline code."""
    text = page.read_text()
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    for block in re.findall(r"```\w*\n(.*?)```", text, re.DOTALL):
        lines += block.splitlines()
    codes = [line.split("  #")[0] for line in lines] + re.findall(r"`([^`\n]+)`", text)
    parts = [part.strip() for code in codes for part in re.split(r"&&|;|\|", code)]
    return [part for part in parts if re.match(r"(rhobeta|make|dvc) [a-z]", part)]


@each_page
def test_commands_of_a_page_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in _commands(page):
        program, first, *words = shlex.split(command.replace("...", ""))
        if program == "make":
            assert first in TARGETS, command
        elif program == "rhobeta":
            with pytest.raises(SystemExit) as exit_:
                main([first, "--help"])
            assert exit_.value.code == 0, command
            found = capsys.readouterr().out
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert all(option in found for option in options), command


@each_page
def test_parameters_and_presets_of_a_page_exist(page: Path) -> None:
    text = page.read_text()
    sections = {name.split(".")[0] for name in KNOWN}
    for name in re.findall(r"`(\w+\.\w+)[:`]", text):
        if name.split(".")[0] in sections and not name.endswith((".py", ".yaml", ".md")):
            assert name in KNOWN, name
    changes = dict(re.findall(r"-S (\w+\.\w+)=([\w.-]+)", text))
    assert changes.keys() <= KNOWN.keys()
    named = set(re.findall(r"--preset ([a-z][\w-]+)", text))
    assert named <= set(preset_names(REPOSITORY / "presets"))


@each_page
def test_links_and_paths_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    for target in re.findall(r"`((?:src|tests|benchmarks|docs|presets)/[\w/.-]+)`", text):
        assert (REPOSITORY / target).exists() or _ignored(target), target


def _ignored(path: str) -> bool:
    command = ["git", "check-ignore", "--quiet", path]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0


def test_index_names_every_page_and_explains_the_words() -> None:
    index = (REPOSITORY / "docs" / "index.md").read_text()
    linked = set(re.findall(r"\]\(([\w./-]+\.md)\)", index))
    pages = {page.name for page in REPOSITORY.glob("docs/*.md")} - {"index.md"}
    assert pages <= linked
    explained = set(re.findall(r"\*\*([\w -]+)\*\*", index))
    assert {"rho", "beta", "KL", "L0", "Gini", "FVU", "Probe", "Baseline"} <= explained
