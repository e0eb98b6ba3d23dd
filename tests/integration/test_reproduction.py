"""Same inputs, same bytes: two clones that share nothing but the commit write the same."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers import DIGITS, REPOSITORY, STAGES, git
from helpers.clones import Clone

# No output may depend on where and by whom the pipeline is run.
FOLDER = "a much longer folder"
USER, ZONE = "grace", "America/New_York"


def elsewhere(clone: Clone, home: Path) -> dict[str, str]:
    """The environment of another user, of another zone and language."""
    home.mkdir()
    foreign = ("DVC_", "MLFLOW_", "XDG_")
    kept = {k: v for k, v in clone.environment.items() if not k.startswith(foreign)}
    return kept | {
        "HOME": str(home),
        "USER": USER,
        "LOGNAME": USER,
        "TMPDIR": str(home),
        "TZ": ZONE,
        "LANG": "C",
        "LC_ALL": "C",
        "PYTHONHASHSEED": "4242",
        "DVC_SITE_CACHE_DIR": str(home / "site-cache"),
    }


@pytest.fixture(scope="module")
def clones(
    untouched: Clone, reproduced: Clone, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """A clone after `dvc repro`, and another in which another user has done the same."""
    root = tmp_path_factory.mktemp("much longer than that of the other")
    clone = Clone(root / FOLDER)
    git(root, "clone", "--quiet", "--no-local", str(untouched.folder), str(clone.folder))
    shutil.copy(DIGITS, clone.folder / "data" / "own")
    done = subprocess.run(
        ["dvc", "repro"],
        cwd=clone.folder,
        env=elsewhere(clone, root / "home"),
        umask=0o077,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    ran = [stage for stage in STAGES if f"Running stage '{stage}'" in done.stdout]
    assert ran == list(STAGES), "each stage must be run, not brought from a cache"
    return reproduced.folder, clone.folder


def outs_of(stage: Mapping[str, Any]) -> list[str]:
    return [next(iter(out)) if isinstance(out, dict) else out for out in stage["outs"]]


def files_of(folder: Path, out: str) -> dict[str, bytes]:
    path = folder / out
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_two_clones_make_the_same_bytes(clones: tuple[Path, Path], stage: str) -> None:
    declared = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"][stage]
    for out in outs_of(declared):
        first, second = (files_of(folder, out) for folder in clones)
        assert first, f"{out} holds no file"
        assert first.keys() == second.keys()
        different = [name for name in first if first[name] != second[name]]
        assert not different


@pytest.mark.slow
def test_two_clones_write_the_same_lock(clones: tuple[Path, Path]) -> None:
    first, second = (folder / "dvc.lock" for folder in clones)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes() != (REPOSITORY / "dvc.lock").read_bytes()
    folder = clones[1]
    changed = git(folder, "status", "--porcelain").splitlines()
    assert {line.split()[-1] for line in changed} <= {
        "dvc.lock",
        *(f"reports/plots/{path.name}" for path in (folder / "reports/plots").iterdir()),
        "reports/details.json",
        "reports/metrics.json",
    }


@pytest.mark.slow
def test_outputs_hold_nothing_of_their_place_and_user(clones: tuple[Path, Path]) -> None:
    stages = YAML(typ="safe").load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    for folder in clones:
        words = (str(folder), USER, ZONE, os.uname().nodename)
        marks = [word.encode() for word in words if len(word) > 4]
        for out in (out for stage in stages.values() for out in outs_of(stage)):
            for name, content in files_of(folder, out).items():
                assert not [mark for mark in marks if mark in content], name


@pytest.mark.slow
def test_committed_lock_is_that_of_the_outputs_here() -> None:
    lock = YAML(typ="safe").load((REPOSITORY / "dvc.lock").read_text())["stages"]
    outs = [out["path"] for stage in lock.values() for out in stage["outs"]]
    if absent := [out for out in outs if not (REPOSITORY / out).exists()]:
        pytest.skip(f"{', '.join(absent)} are not here; run `make repro` first")
    command = ["dvc", "status", "--json", "dvc.yaml"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {}
