"""The code, experiment and user of a run, from git, DVC and the system."""

import getpass
import os
import platform
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from rhobeta.config.params import read_yaml
from rhobeta.config.presets import as_override
from rhobeta.errors import RhobetaError
from rhobeta.tracking.tags import BASELINE_TAG, BRANCH_TAG, COMMIT_TAG, DIRTY_TAG, EXPERIMENT_TAG
from rhobeta.utils.git import git_refusal, run_git

# Outputs tracked in git do not make the code dirty.
_OUTPUTS = (":(exclude)dvc.lock", ":(exclude)reports")
_PARAMETERS = "params.yaml"
# Of the parameters, those that a stage depends on.
_SECTIONS = ("data", "model", "penalty", "topk", "training", "evaluate", "visualize")
_ABSENT = object()
# Unlike `git status` and `git diff`, these read few of the user's settings.
_CHANGED = ("diff-index", "--name-only", "--relative", "--ignore-submodules=none")
_NEW = ("ls-files", "--others", "--exclude-standard", "--directory", "--no-empty-directory")
# A patch cannot hold changes inside a submodule.
_DIFF = (
    "diff-index", "--patch", "--binary", "--full-index", "--no-renames", "--no-color",
    "--no-ext-diff", "--no-textconv", "--no-relative", "--src-prefix=a/", "--dst-prefix=b/",
    "--unified=3", "--inter-hunk-context=0", "--diff-algorithm=myers", "--indent-heuristic",
    "--submodule=short", "--ignore-submodules=dirty",
)  # fmt: skip


@dataclass(frozen=True)
class Code:
    """The commit that is checked out, and the difference from it."""

    commit: str
    branch: str
    dirty: bool
    """Whether files differ from the commit, or are new."""
    diff: bytes
    """A patch to the commit, for `git apply`, without new files that git does not know."""
    command: str
    """What repeats work on this state in a clone."""

    @property
    def tags(self) -> dict[str, str]:
        """MLflow's own tags for code."""
        return {
            COMMIT_TAG: self.commit,
            BRANCH_TAG: self.branch,
            DIRTY_TAG: str(self.dirty).lower(),
        }


def read_code(workspace: Path) -> Code:
    """Ask git for the state of `workspace`.

    Raises `RhobetaError` if there is no git or no commit, or git refuses: the run could not say
    which code made its model.
    """
    commit = _git(workspace, "rev-parse", "--verify", "HEAD^{commit}").decode().strip()
    branch = _git(workspace, "rev-parse", "--abbrev-ref", "HEAD").decode(errors="replace").strip()
    with TemporaryDirectory() as temporary:
        # git compares contents once it has noted in its index which files were touched.
        environment = {"GIT_INDEX_FILE": str(_copied_index(workspace, Path(temporary)))}
        run_git(workspace, "update-index", "-q", "--refresh", environment=environment)
        changed, new, diff = (
            _git(workspace, *command, "--", ".", *_OUTPUTS, environment=environment)
            for command in ((*_CHANGED, commit), _NEW, (*_DIFF, commit))
        )
    files = (found.decode(errors="replace").splitlines() for found in (changed, new))
    command = _command(workspace, commit, *files)
    return Code(commit, branch, bool(changed or new), diff, command)


def _command(workspace: Path, commit: str, changed: list[str], new: list[str]) -> str:
    """What repeats work on the state of `workspace` in a clone.

    Changed parameters are set; where other files differ, the run's artifact with the difference
    is applied. Files that git does not know are named: no run has them.
    """
    words = [f"git checkout {commit[:12]}"]
    values = _changed_parameters(workspace, commit) if changed == [_PARAMETERS] else None
    if values is None and changed:
        words.append("git apply uncommitted.diff")
    settings = [f"-S {shlex.quote(f'{k}={as_override(v)}')}" for k, v in (values or {}).items()]
    words.append(" ".join(["dvc exp run", *settings]) if settings else "dvc repro")
    note = f"  # with {', '.join(new)}, which no commit has" if new else ""
    return " && ".join(words) + note


def _changed_parameters(workspace: Path, commit: str) -> dict[str, Any] | None:
    """The parameters of the stages that are not those of the commit, by dotted path.

    None where those of the commit cannot be read.
    """
    present = read_yaml(workspace / _PARAMETERS)
    try:
        content = _git(workspace, "cat-file", "blob", f"{commit}:./{_PARAMETERS}")
        committed = YAML(typ="safe").load(content.decode())
        return {
            f"{section}.{key}": value
            for section in _SECTIONS
            for key, value in present[section].items()
            if value != committed[section].get(key, _ABSENT)
        }
    except (RhobetaError, ValueError, YAMLError, LookupError, TypeError, AttributeError):
        return None


def experiment_tags() -> dict[str, str]:
    """DVC's experiment name and baseline, if the stage runs in a DVC experiment."""
    names = {"DVC_EXP_NAME": EXPERIMENT_TAG, "DVC_EXP_BASELINE_REV": BASELINE_TAG}
    return {tag: os.environ[name] for name, tag in names.items() if os.environ.get(name)}


def versions() -> str:
    """The versions of this program, Python and the libraries that compute, in words."""
    libraries = ("rhobeta", "torch", "pytorch-lightning", "numpy", "scikit-learn", "mlflow")
    found = [f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in libraries)]
    return ", ".join(found)


def user_name() -> str:
    """The name of the user, or `unknown` if the system has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _copied_index(workspace: Path, folder: Path) -> Path:
    """A copy of the index, which git may rewrite; a path without a file if there is none."""
    place = os.fsdecode(_git(workspace, "rev-parse", "--git-path", "index").removesuffix(b"\n"))
    copied = folder / "index"
    if (workspace / place).is_file():
        # With its time, by which git knows files that changed in the moment it was written.
        shutil.copy2(workspace / place, copied)
    return copied


def _git(workspace: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> bytes:
    done = run_git(workspace, *arguments, environment=environment)
    if done.returncode != 0:
        raise git_refusal(workspace, done.stderr)
    return done.stdout
