"""`dvc repro` is ended in each stage, or its files are damaged; the next one makes it good.

Slow: the real pipeline in clones, ended at moments drawn by a seed.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers import STAGES, git
from helpers.clones import Clone, make_clone
from helpers.injected import outputs, started, wait_until
from rhobeta.paths import Paths

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which nothing has been run."""
    return make_clone(
        tmp_path_factory.mktemp("empty") / "project", tmp_path_factory.mktemp("record")
    )


def _copy(clone: Clone, folder: Path) -> Clone:
    shutil.copytree(clone.folder, folder)
    return Clone(folder, clone.record)


def _outputs(clone: Clone) -> dict[str, bytes]:
    lock = clone.folder / "dvc.lock"
    content = lock.read_bytes() if lock.exists() else b""
    return outputs(Paths(clone.folder, clone.folder)) | {"dvc.lock": content}


@pytest.fixture(scope="module")
def undisturbed(empty: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone after an undisturbed `dvc repro`."""
    clone = _copy(empty, tmp_path_factory.mktemp("undisturbed") / "project")
    assert clone.stages_run_by("dvc", "repro") == list(STAGES)
    return clone


def _has_whole_lock(clone: Clone) -> bool:
    listed = subprocess.run(
        ["dvc", "stage", "list"],
        cwd=clone.folder,
        env=clone.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # Nothing else may be wrong.
    assert listed.returncode == 0 or "dvc.lock" in listed.stderr, listed.stderr
    return listed.returncode == 0


def _stage_of(pid: int) -> str | None:
    """The stage that a `dvc` runs at present."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        words = Path(f"/proc/{children[0]}/cmdline").read_bytes().split(b"\0") if children else []
    except OSError:
        return None
    return next((stage for stage in STAGES if stage.encode() in words), None)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


WAYS: dict[str, Callable[[int], None]] = {
    "Ctrl-C": lambda dvc: os.killpg(dvc, signal.SIGINT),
    "SIGTERM to dvc": lambda dvc: os.kill(dvc, signal.SIGTERM),
    "SIGKILL to dvc": lambda dvc: os.kill(dvc, signal.SIGKILL),
    "SIGKILL to all": lambda dvc: os.killpg(dvc, signal.SIGKILL),
}


@pytest.mark.parametrize("way", WAYS)
def test_dvc_repro_ended_in_each_stage_ends_in_the_same_bytes(
    empty: Clone, undisturbed: Clone, tmp_path: Path, way: str
) -> None:
    clone = _copy(empty, tmp_path / "project")
    before, expected = _outputs(empty), _outputs(undisturbed)
    chance = random.Random(way)
    for number, stage in enumerate(STAGES):
        # One that has ended before the signal came is not seen again, but one after it is.
        left = STAGES[number:]
        with started("dvc", "repro", folder=clone.folder, **clone.environment) as dvc:
            wait_until(
                lambda dvc=dvc, left=left: _stage_of(dvc.pid) in left or dvc.poll() is not None
            )
            time.sleep(chance.uniform(0.1, 0.6 if stage in STAGES[:2] else 3.0))
            if dvc.poll() is None:
                WAYS[way](dvc.pid)
            dvc.wait(60)
            # No stage works on for a `dvc` that is gone.
            wait_until(lambda group=dvc.pid: not _alive(group))
        for name, content in _outputs(clone).items():
            if name != "dvc.lock" and ".part" not in name:
                assert content in (before.get(name), expected[name]), f"{name} is half written"
    if not _has_whole_lock(clone):
        # DVC writes its lock in place, for a tenth of a second; git has the last whole one.
        git(clone.folder, "checkout", "--quiet", "HEAD", "--", "dvc.lock")
    clone.run("dvc", "repro")
    assert _outputs(clone) == expected
    statuses = [run.info.status for run in clone.runs()]
    assert statuses[-1] == "FINISHED"
    assert clone.stages_run_by("dvc", "repro") == []


@pytest.mark.parametrize(
    "name",
    [
        "data/raw/train-images-idx3-ubyte",
        "data/processed/train.safetensors",
        "data/processed/test.safetensors",
        "models/autoencoder.safetensors",
        "reports/evaluation.safetensors",
        "reports/metrics.json",
    ],
)
def test_dvc_repro_mends_a_file_that_changed_between_stages(
    undisturbed: Clone, tmp_path: Path, name: str
) -> None:
    clone = _copy(undisturbed, tmp_path / "project")
    expected = _outputs(undisturbed)
    content = bytearray((clone.folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (clone.folder / name).unlink()
    (clone.folder / name).write_bytes(content)
    clone.run("dvc", "repro")
    assert _outputs(clone) == expected
