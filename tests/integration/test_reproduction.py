"""Same inputs, same bytes: two clones that share nothing but the commit write the same."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from helpers import DIGITS, OUTSIDE, QUICK, REPOSITORY, STAGES, git, write_params


@dataclass(frozen=True)
class Place:
    """Where and by whom the pipeline is run; no output may depend on it."""

    folder: str
    user: str
    zone: str
    locale: str
    umask: int
    hash_seed: str


PLACES = (
    Place("a", "ada", "Asia/Tokyo", "C.UTF-8", 0o022, "1"),
    Place(
        "a much longer folder/with another in it/project",
        "grace",
        "America/New_York",
        "C",
        0o077,
        "4242",
    ),
)


def environment_of(place: Place, home: Path) -> dict[str, str]:
    home.mkdir(parents=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_", "XDG_"))}
    for name in (*OUTSIDE, "PYTHONPATH"):
        kept.pop(name, None)
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "USER": place.user,
        "LOGNAME": place.user,
        "TMPDIR": str(home),
        "TZ": place.zone,
        "LANG": place.locale,
        "LC_ALL": place.locale,
        "PYTHONHASHSEED": place.hash_seed,
        "DVC_SITE_CACHE_DIR": str(home / "site-cache"),
        # The number of threads may change the bytes: docs/guarantees.md.
        "OMP_NUM_THREADS": "1",
    }


def reproduce(place: Place, root: Path) -> Path:
    """A clone of the commit, with the fixture as its own data, after `dvc repro`."""
    folder, home = root / place.folder, root / f"home of {place.user}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(root, "clone", "--quiet", "--no-local", str(REPOSITORY), str(folder))
    shutil.copy(DIGITS, folder / "data" / "own")
    write_params(folder, QUICK)
    git(folder, "commit", "--quiet", "--all", "--message=own data")
    done = subprocess.run(
        ["dvc", "repro"],
        cwd=folder,
        env=environment_of(place, home),
        umask=place.umask,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    ran = [stage for stage in STAGES if f"Running stage '{stage}'" in done.stdout]
    assert ran == list(STAGES), "each stage must be run, not brought from a cache"
    return folder


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    first, second = (reproduce(p, tmp_path_factory.mktemp(p.user)) for p in PLACES)
    return first, second


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
    for folder in clones:
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
    for folder, place in zip(clones, PLACES, strict=True):
        words = {str(folder), place.user, place.zone, os.uname().nodename}
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
