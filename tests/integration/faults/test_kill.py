"""A `dvc repro` is ended, or its files change: the next run makes it good."""

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from helpers import STAGES, git
from helpers.clones import Clone, copy_of
from helpers.injected import outputs, started, wait_until
from rhobeta.paths import Paths

pytestmark = pytest.mark.slow

# Ways to end `dvc repro` in a stage. Of a `dvc` that is killed alone, the stage ends with it.
WAYS = {
    "download": lambda dvc: os.killpg(dvc, signal.SIGKILL),
    "preprocess": lambda dvc: os.killpg(dvc, signal.SIGINT),
    "train": lambda dvc: os.kill(dvc, signal.SIGKILL),
    "evaluate": lambda dvc: os.killpg(dvc, signal.SIGKILL),
    "visualize": lambda dvc: os.killpg(dvc, signal.SIGINT),
}


def _outputs(clone: Clone) -> dict[str, bytes]:
    """All outputs, without partial files that a killed stage left."""
    found = outputs(Paths(clone.folder, clone.folder))
    return {name: content for name, content in found.items() if not re.search(r"\.part\b", name)}


def test_dvc_repro_ended_in_a_stage_is_made_good_by_the_next(
    untouched: Clone, reproduced: Clone, tmp_path: Path
) -> None:
    clone = copy_of(untouched, tmp_path / "project")
    before, expected = _outputs(untouched), _outputs(reproduced)
    chance = random.Random(0)
    for stage, end in WAYS.items():
        with started("dvc", "repro", folder=clone.folder, **clone.environment) as dvc:
            assert dvc.stdout is not None
            # A stage that finished before the last signal is not run again, but one after it is.
            while "Running stage" not in (line := dvc.stdout.readline()) and line:
                pass
            time.sleep(chance.uniform(0.1, 0.5 if stage in STAGES[:2] else 3))
            end(dvc.pid)
            dvc.wait(60)
            wait_until(lambda group=dvc.pid: not _alive(group))
        for name, content in _outputs(clone).items():
            assert content in (before.get(name), expected[name]), f"{name} is half written"
    if not _lock_is_whole(clone):
        # DVC writes dvc.lock in place: a kill in that moment leaves half of it.
        git(clone.folder, "checkout", "--quiet", "HEAD", "--", "dvc.lock")
    clone.run("dvc", "repro")
    assert _outputs(clone) == expected
    lock, other = (one.folder / "dvc.lock" for one in (clone, reproduced))
    assert lock.read_bytes() == other.read_bytes()
    assert clone.runs()[-1].info.status == "FINISHED"
    assert clone.stages_run_by("dvc", "repro") == []


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _lock_is_whole(clone: Clone) -> bool:
    try:
        clone.run("dvc", "stage", "list")
    except AssertionError:
        return False
    return True


def test_dvc_repro_restores_files_that_changed(reproduced: Clone, tmp_path: Path) -> None:
    clone = copy_of(reproduced, tmp_path / "project")
    for name in ("data/raw/train-images-idx3-ubyte", "reports/metrics.json"):
        content = bytearray((clone.folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (clone.folder / name).unlink()
        (clone.folder / name).write_bytes(content)
    clone.run("dvc", "repro")
    assert _outputs(clone) == _outputs(reproduced)
