"""The workspace: git, the lock file, the data, room and rights."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rhobeta.data.splits import SPLIT_NAMES, read_manifest
from rhobeta.errors import RhobetaError
from rhobeta.lineage.doctor_finding import Finding, fault, note, ok
from rhobeta.paths import Paths
from rhobeta.tracking.provenance import read_code
from rhobeta.utils.files import sha256_of_file

_GIGABYTE = 1e9
_LEAST_BYTES, _FEW_BYTES = 0.2 * _GIGABYTE, 2 * _GIGABYTE
_DVC_SECONDS = 60


def check_project(paths: Paths) -> list[Finding]:
    """In the order in which a newcomer meets them."""
    return [_git(paths), _writable(paths), _room(paths), _data(paths), _lock(paths)]


def _git(paths: Paths) -> Finding:
    try:
        code = read_code(paths.workspace)
    except RhobetaError as error:
        found, _, advice = str(error).partition("\n")
        return fault("git", found, advice)
    return ok("git", f"{code.commit[:12]}{', with uncommitted changes' if code.dirty else ''}")


def _writable(paths: Paths) -> Finding:
    # The nearest folder that is there already: nothing is made to find out.
    places = [paths.workspace, paths.store, paths.splits, paths.model.parent, paths.plots]
    for place in places:
        folder = next(one for one in (place, *place.parents) if one.is_dir())
        if not os.access(folder, os.W_OK | os.X_OK):
            return fault("write access", f"{folder} cannot be written", f"chmod -R u+w {folder}")
    return ok("write access", "workspace and store")


def _room(paths: Paths) -> Finding:
    places = [folder for folder in (paths.workspace, paths.store_root) if folder.is_dir()]
    free = min(shutil.disk_usage(folder).free for folder in places)
    found = f"{free / _GIGABYTE:.1f} GB free"
    if free < _LEAST_BYTES:
        return fault("disk", found, "Free some space: stages and stores will not be written.")
    if free < _FEW_BYTES:
        return note("disk", found, "`dvc gc --workspace` drops cached data of old versions.")
    return ok("disk", found)


def _data(paths: Paths) -> Finding:
    if not paths.splits.is_dir():
        return note("data", "no splits yet", "`dvc repro` makes them, `dvc pull` brings them.")
    try:
        manifest = read_manifest(paths.splits)
    except RhobetaError as error:
        found, _, advice = str(error).partition("\n")
        return fault("data", found, advice)
    for split in SPLIT_NAMES:
        file = paths.splits / f"{split}.safetensors"
        fitting = file.is_file() and sha256_of_file(file) == manifest.digest(split)
        if not fitting:
            return fault(
                "data",
                f"{file} is {'not the file that the manifest names' if file.exists() else 'gone'}",
                "`dvc checkout` brings it back, `rhobeta preprocess` makes it anew.",
            )
    return ok("data", f"{manifest.parameters['data.name']} {manifest.sha256[:12]}, verified")


def _lock(paths: Paths) -> Finding:
    if not (paths.workspace / ".dvc").is_dir():
        return fault("dvc.lock", f"{paths.workspace} is no DVC repository", "dvc init")
    command = [sys.executable, "-m", "dvc", "repro", "--allow-missing", "--dry"]
    done = _run(command, paths.workspace)
    stopped = re.search(r"failed to reproduce '(\w+)'", "" if done is None else done.stderr)
    if stopped is not None:
        # What it would read is not there: an earlier stage has to run, or `dvc pull`.
        return note("dvc.lock", f"not current from {stopped[1]} on", "dvc pull, then dvc repro")
    if done is None or done.returncode != 0:
        said = "" if done is None else (done.stderr.strip().splitlines() or [""])[0]
        # DVC writes it in place, so that one that is killed in that moment leaves half of it.
        half = "dvc.lock" in said
        advice = "`git checkout dvc.lock`, then `dvc repro`" if half else "dvc repro"
        return fault("dvc.lock", f"DVC cannot tell: {said or 'no answer'}", advice)
    words = "Running stage '"
    stages = [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith(words)]
    if not stages:
        return ok("dvc.lock", "current")
    return note("dvc.lock", f"not current: {', '.join(stages)} would run", "dvc repro")


def _run(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str] | None":
    try:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_DVC_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
