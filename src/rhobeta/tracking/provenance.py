"""The code, experiment and user of a run, from git, DVC and the system."""

import getpass
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rhobeta.tracking.tags import BASELINE_TAG, BRANCH_TAG, COMMIT_TAG, DIRTY_TAG, EXPERIMENT_TAG
from rhobeta.utils.git import git_refusal, run_git

# Outputs tracked in git do not make the code dirty.
_OUTPUTS = (":(exclude)dvc.lock", ":(exclude)reports")
# Unlike `git status` and `git diff`, these read few of the user's settings.
_CHANGED = ("diff-index", "--name-only", "--ignore-submodules=none")
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
    return Code(commit, branch, bool(changed or new), diff)


def experiment_tags() -> dict[str, str]:
    """DVC's experiment name and baseline, if the stage runs in a DVC experiment."""
    names = {"DVC_EXP_NAME": EXPERIMENT_TAG, "DVC_EXP_BASELINE_REV": BASELINE_TAG}
    return {tag: os.environ[name] for name, tag in names.items() if os.environ.get(name)}


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
