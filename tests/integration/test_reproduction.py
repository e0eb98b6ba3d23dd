"""Same inputs, same bytes: `dvc repro` in one folder and the command in another write the same."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers import REPOSITORY, STAGES, git
from helpers.clones import Clone


@pytest.fixture(scope="module")
def folders(reproduced: Clone, snapshots: Path) -> tuple[Path, Path]:
    """A clone after `dvc repro`, and a project of the same inputs in which the command has run."""
    return reproduced.folder, snapshots / "visualize"


def outs_of(stage: Mapping[str, Any]) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]


def files_of(folder: Path, out: str) -> dict[str, bytes]:
    path = folder / out
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_two_folders_hold_the_same_bytes(folders: tuple[Path, Path], stage: str) -> None:
    declared = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]
    for out in outs_of(declared):
        first, second = (files_of(folder, out) for folder in folders)
        assert first, f"{out} holds no file"
        assert first.keys() == second.keys()
        different = [name for name in first if first[name] != second[name]]
        assert not different


@pytest.mark.slow
def test_repro_changes_no_committed_file_but_results(reproduced: Clone) -> None:
    folder = reproduced.folder
    changed = git(folder, "show", "--name-only", "--format=", "HEAD").splitlines()
    assert set(changed) <= {
        "dvc.lock",
        *(f"reports/plots/{path.name}" for path in (folder / "reports/plots").iterdir()),
        "reports/details.json",
        "reports/metrics.json",
    }


@pytest.mark.slow
def test_outputs_hold_nothing_of_their_place(folders: tuple[Path, Path]) -> None:
    stages = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    for folder in folders:
        marks = [word.encode() for word in (str(folder), os.uname().nodename) if len(word) > 4]
        for out in (out for stage in stages.values() for out in outs_of(stage)):
            for name, content in files_of(folder, out).items():
                assert not [mark for mark in marks if mark in content], name


@pytest.mark.slow
def test_committed_lock_is_that_of_the_outputs_here() -> None:
    lock = YAML(typ="safe").load((REPOSITORY / "dvc.lock").read_text())["stages"]
    outs = [out["path"] for stage in lock.values() for out in stage["outs"]]
    if absent := [out for out in outs if not (REPOSITORY / out).exists()]:
        pytest.skip(f"{', '.join(absent)} are not here; run `make repro` first")
    command = ["dvc", "status", "--json"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}
