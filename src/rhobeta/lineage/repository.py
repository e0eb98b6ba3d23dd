"""What git and DVC know of models: commits, experiments, `dvc.lock` and the cache.

Everything is read from git's objects and DVC's files, since importing DVC itself takes a second.
Nothing is checked out and nothing is written.
"""

import json
import re
import shutil
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import verify_checksum
from rhobeta.utils.git import git_refusal, is_no_repository, run_git

MODEL = "models/autoencoder.safetensors"
DETAILS = "reports/details.json"
OLD_METRICS = "reports/metrics.json"
"""What holds all metrics in a commit of version 0.1."""

_MANIFEST = "data/processed/manifest.json"
_LOG = ("log", "--no-show-signature", "--no-ext-diff", "--no-textconv")
_EXPERIMENT = re.compile(r"refs/exps/([0-9a-f]{2})/([0-9a-f]{38})/(.+)")


@dataclass(frozen=True)
class Experiment:
    """A finished DVC experiment, which DVC keeps as a commit."""

    name: str
    commit: str
    baseline: str
    """The commit that it starts from."""


@dataclass(frozen=True)
class Commit:
    """A commit and the first line of its message."""

    id: str
    subject: str


class Lock:
    """What a `dvc.lock` says of stages: what each read and wrote, and with which parameters."""

    def __init__(self, content: bytes) -> None:
        """`content` is that of the file; empty where no stage has run."""
        self._content = content

    @property
    def model(self) -> str | None:
        """MD5 of the model that was trained."""
        return self.written("train", MODEL)

    def written(self, stage: str, path: str) -> str | None:
        """MD5 of a file that a stage wrote."""
        return self._digest(stage, "outs", path)

    def read(self, stage: str, path: str) -> str | None:
        """MD5 of a file that a stage read."""
        return self._digest(stage, "deps", path)

    def outputs(self, stage: str) -> dict[str, str]:
        """MD5 of everything that a stage wrote, by path; that of a folder ends in `.dir`."""
        return self._digests(stage, "outs")

    def inputs(self, stage: str) -> dict[str, str]:
        """MD5 of everything that a stage read, by path."""
        return self._digests(stage, "deps")

    def parameters(self, stage: str) -> dict[str, Any]:
        """The parameters of a stage by dotted path."""
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        found: dict[str, Any] = {}
        try:
            stages = YAML(typ="safe").load(self._content)["stages"]
            for name, value in stages[stage]["params"]["params.yaml"].items():
                if isinstance(value, dict):
                    found |= {f"{name}.{key}": inner for key, inner in value.items()}
                else:
                    found[name] = value
        except (YAMLError, KeyError, TypeError, AttributeError):
            return {}
        return found

    def _digest(self, stage: str, side: str, path: str) -> str | None:
        return self._digests(stage, side).get(path)

    def _digests(self, stage: str, side: str) -> dict[str, str]:
        try:
            entries = _stages(self._content)[stage][side]
            return {str(entry["path"]): str(entry["md5"]) for entry in entries}
        except (KeyError, TypeError):
            return {}


class Repository:
    """The git repository and the DVC cache of a workspace; without a repository it knows nothing.

    Its methods raise `RhobetaError` where git refuses the repository.
    """

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace

    @property
    def exists(self) -> bool:
        """Whether there is a repository with a commit."""
        return self.commit("HEAD") is not None

    def commit(self, revision: str) -> str | None:
        """The id of the commit that git resolves `revision` to."""
        name = revision + "^{commit}"
        return self._text("rev-parse", "--verify", "--quiet", "--end-of-options", name) or None

    def described(self, commit: str) -> Commit:
        """The commit with its subject."""
        return Commit(commit, self._text(*_LOG, "-1", "--format=%s", commit, "--"))

    @cached_property
    def experiments(self) -> list[Experiment]:
        """All finished DVC experiments."""
        listed = self._text("for-each-ref", "--format=%(objectname) %(refname)", "refs/exps")
        pairs = [line.split(" ", 1) for line in listed.splitlines()]
        matches = [(commit, _EXPERIMENT.fullmatch(reference)) for commit, reference in pairs]
        return [Experiment(m[3], commit, m[1] + m[2]) for commit, m in matches if m]

    @cached_property
    def names(self) -> list[str]:
        """The names of branches and tags."""
        names = ("--format=%(refname:short)", "refs/heads", "refs/tags")
        return self._text("for-each-ref", *names).split()

    def lock(self, commit: str | None = None) -> Lock:
        """The `dvc.lock` of a commit, or of the workspace."""
        if commit is not None:
            return Lock(self.file(commit, "dvc.lock") or b"")
        path = self._workspace / "dvc.lock"
        return Lock(path.read_bytes() if path.is_file() else b"")

    def file(self, commit: str, path: str) -> bytes | None:
        """The content of a file of the project in a commit; in git's index for the commit ""."""
        return self._git("cat-file", "blob", f"{commit}:./{path}")

    def commits_with(self, model_md5: str) -> list[str]:
        """The commits of all branches and experiments whose `dvc.lock` first names this model.

        Newest first. A later commit that keeps the same model is left out, except HEAD.
        """
        changed = self._text(*_LOG, "--all", "--format=%H", f"-S{model_md5}", "--", "dvc.lock")
        head = self.commit("HEAD") or ""
        candidates = dict.fromkeys([*changed.split(), *head.split()])
        return [commit for commit in candidates if self.lock(commit).model == model_md5]

    def cached(self, md5: str | None) -> Path | None:
        """The file with this MD5 in DVC's cache, if it is there."""
        if md5 is None or self._cache is None or not re.fullmatch(r"[0-9a-f]{32}(\.dir)?", md5):
            return None
        path = self._cache / "files" / "md5" / md5[:2] / md5[2:]
        return path if path.is_file() else None

    def manifest(self, commit: str) -> dict[str, Any] | None:
        """The manifest of the splits that a commit's model was trained on, from DVC's cache."""
        path = self.cached(self.lock(commit).read("train", _MANIFEST))
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
                        f"{folder / '.dvc'} has a configuration that DVC refuses ({error})."
                    ) from None
                return Path(place) if place else folder / ".dvc" / "cache"
        return None

    def _text(self, *arguments: str) -> str:
        return (self._git(*arguments) or b"").decode(errors="replace").strip()

    def _git(self, *arguments: str) -> bytes | None:
        """What git prints; None where it fails."""
        if not self._is_known:
            return None
        done = run_git(self._workspace, *arguments)
        return done.stdout if done.returncode == 0 else None

    @cached_property
    def _is_known(self) -> bool:
        """Whether there is a git repository. Raises `RhobetaError` where git refuses it."""
        if shutil.which("git") is None:
            return False
        done = run_git(self._workspace, "rev-parse", "--git-dir")
        if done.returncode != 0 and not is_no_repository(done.stderr):
            raise git_refusal(self._workspace, done.stderr)
        return done.returncode == 0


def manifest_from(content: bytes) -> dict[str, Any] | None:
    """The values in a manifest's bytes; None where they are damaged."""
    try:
        verify_checksum(content)
        found = json.loads(content)
    except (RhobetaError, ValueError):
        return None
    return found if isinstance(found, dict) else None


@cache
def _stages(content: bytes) -> dict[str, Any]:
    """The stages of a `dvc.lock`, every value as text."""
    import yaml  # type: ignore[import-untyped]

    try:
        # A tenth of the time of DVC's own parser: a history holds many locks. As text, since this
        # parser takes 1e-08 for a string and long digests for numbers.
        stages = yaml.load(content, yaml.CBaseLoader)["stages"]  # noqa: S506
    except (yaml.YAMLError, TypeError, KeyError):
        return {}
    return stages if isinstance(stages, dict) else {}
