"""What a stage puts back after DVC has prepared the workspace for it.

DVC removes the outputs of a stage before it starts the stage, and `dvc exp run -S` has written its
values into `params.yaml` by then. A stage that refuses its parameters, fails or is killed leaves
both as they are. So a stage first puts back its earlier outputs, which it replaces when it is done,
and one that refuses an experiment's parameters gives `params.yaml` its earlier content.
"""

import json
import os
import re
from pathlib import Path

from rhobeta.lineage.repository import Repository
from rhobeta.paths import Paths
from rhobeta.utils.files import atomic_folder, md5_of_bytes, write_bytes
from rhobeta.utils.git import run_git

# DVC names the commit that an experiment starts from, and the stash of what it adds to it.
_HEAD, _MERGE = "refs/exps/exec/EXEC_HEAD", "refs/exps/exec/EXEC_MERGE"
# What the reflog of HEAD ends with when an experiment starts in the workspace, newest first.
_STARTED = ("checkout: moving from ", "dvc: Restore HEAD to ", "checkout: moving from ")


def put_back_outputs(paths: Paths, stage: str) -> None:
    """Write the outputs of `stage` that DVC has just removed, with the content they had.

    They are in DVC's cache or in git. An output that is in neither stays away. Nothing is done for
    a stage that DVC did not start, or started in another workspace than the project's own.
    """
    if os.environ.get("DVC_STAGE", "").rpartition(":")[2] != stage or not _is_own(paths):
        return
    repository = Repository(paths.workspace)
    for name, md5 in repository.lock().outputs(stage).items():
        path = paths.workspace / name
        if path.exists():
            continue
        if md5.endswith(".dir"):
            _put_back_folder(path, repository, md5)
        elif (content := _content_of(name, repository, md5)) is not None:
            write_bytes(path, content)


def put_back_params(paths: Paths) -> bool:
    """Give `params.yaml` the content that it had before the DVC experiment in this workspace.

    Before it starts, DVC stashes the uncommitted changes for a moment and adds its values to them.
    The stash stays among git's unreachable objects. Returns False, with nothing changed, where no
    experiment runs here or it changed nothing, or the earlier content is not certain.
    """
    if "DVC_EXP_NAME" not in os.environ or not _is_own(paths) or paths.params.is_symlink():
        return False
    repository = Repository(paths.workspace)
    head, merged = repository.commit(_HEAD), repository.commit(_MERGE)
    began = _began(paths.workspace)
    if head is None or merged is None or began is None:
        return False
    before = _stash_before(paths.workspace, head, began) or head
    content = repository.file(before, paths.params.name)
    changed = _git(paths.workspace, "diff", "--name-only", "--relative", before, merged).split()
    known = {paths.params.name, ".dvc/tmp/repro.dat"}
    now = paths.params.read_bytes()
    if now != repository.file(merged, paths.params.name) or not set(changed) <= known:
        return False
    if content is None or content == now:
        return False
    write_bytes(paths.params, content)
    return True


def _is_own(paths: Paths) -> bool:
    """Whether the workspace is the project's, not one that DVC made for an experiment."""
    return paths.workspace.samefile(paths.store_root)


def _put_back_folder(path: Path, repository: Repository, md5: str) -> None:
    listing = repository.cached(md5)
    if listing is None:
        return
    entries = {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_bytes())}
    files = {name: repository.cached(digest) for name, digest in entries.items()}
    with atomic_folder(path) as folder:
        for name, file in files.items():
            if file is not None:
                write_bytes(folder / name, file.read_bytes())


def _content_of(name: str, repository: Repository, md5: str) -> bytes | None:
    """The earlier content of an output: of the experiment's stash, DVC's cache or git's index."""
    if "DVC_EXP_NAME" in os.environ and (content := repository.file(_MERGE, name)) is not None:
        return content
    cached = repository.cached(md5)
    if cached is not None and md5_of_bytes(content := cached.read_bytes()) == md5:
        return content
    return repository.file("", name)


def _began(workspace: Path) -> int | None:
    """A time before DVC's stash and after any earlier one, in seconds; None where it is unknown."""
    arguments = ("log", "-g", "-4", "--date=unix", "--format=%gd %gs", "HEAD", "--")
    entries = re.findall(r"^HEAD@\{(\d+)\} (.*)$", _git(workspace, *arguments), re.MULTILINE)
    starts = [subject.startswith(start) for start, (_, subject) in zip(_STARTED, entries)]  # noqa: B905
    if len(starts) < len(_STARTED) or not all(starts):
        return None
    return int(entries[3][0]) if len(entries) > len(_STARTED) else 0


def _stash_before(workspace: Path, head: str, began: int) -> str | None:
    """The newest unreachable stash of changes to `head` that is not older than `began`."""
    listed = _git(
        workspace, "fsck", "--unreachable", "--no-reflogs", "--connectivity-only", "--no-progress"
    )
    commits = re.findall(r"^unreachable commit (\w+)$", listed, re.MULTILINE)
    if not commits:
        return None
    described = _git(workspace, "log", "--no-walk", "--format=%ct %H %P %s", *commits, "--")
    stash = re.compile(rf"(\d+) (\w+) {head} \w+ WIP on .*")
    found = [stash.fullmatch(line) for line in described.splitlines()]
    times = [(int(match[1]), match[2]) for match in found if match and int(match[1]) >= began]
    return max(times)[1] if times else None


def _git(workspace: Path, *arguments: str) -> str:
    return run_git(workspace, *arguments).stdout.decode(errors="replace")
