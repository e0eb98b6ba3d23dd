"""What git and DVC know of models: commits, experiments, locks and the cache.

All of it is read from git's objects and DVC's files. Nothing is checked out, and nothing written.
"""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.lineage.lock import MANIFEST, Lock
from rhobeta.utils.checksum import verify_checksum

_EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")


@dataclass(frozen=True)
class Experiment:
    """A DVC experiment that git has."""

    name: str
    commit: str
    baseline: str


@dataclass(frozen=True)
class Commit:
    """A commit that holds something, in the words of its author."""

    id: str
    subject: str


class Repository:
    """The git repository and the DVC cache of a workspace; without git, it knows nothing."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    @property
    def is_there(self) -> bool:
        """Whether there is a repository with a commit."""
        return self.commit("HEAD") is not None

    def commit(self, revision: str) -> str | None:
        """The commit that git takes `revision` for."""
        found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", revision + "^{}")
        if found is None or self._git("cat-file", "-t", found.strip()) != "commit\n":
            return None
        return found.strip()

    def described(self, commit: str) -> Commit:
        """The commit with its subject."""
        subject = self._git("log", "-1", "--format=%s", commit, "--")
        return Commit(commit, (subject or "").strip())

    @cached_property
    def experiments(self) -> list[Experiment]:
        """All DVC experiments that have come to their end."""
        listed = self._git("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or ""
        found = []
        for line in listed.splitlines():
            commit, _, reference = line.partition(" ")
            if match := _EXPERIMENT.fullmatch(reference):
                found.append(Experiment(match[3], commit, match[1] + match[2]))
        return found

    @cached_property
    def names(self) -> list[str]:
        """The names of branches and tags."""
        listed = self._git("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags")
        return (listed or "").split()

    def lock(self, commit: str | None = None) -> Lock:
        """The `dvc.lock` of a commit, or of the workspace."""
        if commit is None:
            path = self._workspace / "dvc.lock"
            content = path.read_bytes() if path.is_file() else None
        else:
            content = self.file(commit, "dvc.lock")
        return Lock("" if content is None else content.decode(errors="replace"))

    def file(self, commit: str, path: str) -> bytes | None:
        """The content of a file of the project in a commit."""
        return self._git_bytes("show", f"{commit}:./{path}")

    def commits_with(self, model_md5: str) -> list[str]:
        """The commits of all branches that brought this model into `dvc.lock`, newest first.

        Those of DVC's experiments are among them. A commit that only keeps it is not, but for HEAD.
        """
        touched = self._git("log", "--all", "--format=%H", f"-S{model_md5}", "--", "dvc.lock") or ""
        candidates = dict.fromkeys([*touched.split(), *filter(None, [self.commit("HEAD")])])
        return [commit for commit in candidates if self.lock(commit).model == model_md5]

    def cached(self, md5: str) -> Path | None:
        """The file with this MD5 in DVC's cache, if it is there."""
        if self._cache is None or not re.fullmatch("[0-9a-f]{32}", md5):
            return None
        path = self._cache / "files" / "md5" / md5[:2] / md5[2:]
        return path if path.is_file() else None

    def manifest_in_cache(self, lock: Lock) -> dict[str, Any] | None:
        """The description of the splits that a lock's training took, from DVC's cache."""
        md5 = lock.read("train", MANIFEST)
        path = None if md5 is None else self.cached(md5)
        return None if path is None else manifest_from(path.read_bytes())

    @cached_property
    def _cache(self) -> Path | None:
        for folder in (self._workspace, *self._workspace.parents):
            if (folder / ".dvc").is_dir():
                from dvc.config import (  # type: ignore[import-untyped]
                    Config,
                    ConfigError,
                )

                try:
                    place = Config(str(folder / ".dvc"))["cache"].get("dir")
                except ConfigError as error:
                    raise RhobetaError(
                        f"{folder / '.dvc'} has a configuration that DVC does not take ({error})."
                    ) from None
                return Path(place) if place else folder / ".dvc" / "cache"
        return None

    def _git(self, *arguments: str) -> str | None:
        found = self._git_bytes(*arguments)
        return None if found is None else found.decode(errors="replace")

    def _git_bytes(self, *arguments: str) -> bytes | None:
        if shutil.which("git") is None:
            return None
        done = subprocess.run(
            ["git", *arguments], cwd=self._workspace, capture_output=True, check=False
        )
        return done.stdout if done.returncode == 0 else None


def manifest_from(content: bytes) -> dict[str, Any] | None:
    """The description of the splits in a manifest's bytes; None where they are damaged."""
    try:
        verify_checksum(content)
        found = json.loads(content)
    except (RhobetaError, ValueError):
        return None
    return found if isinstance(found, dict) else None
