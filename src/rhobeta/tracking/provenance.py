"""The code, experiment and user of a run, from git, DVC and the system."""

import getpass
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rhobeta.errors import RhobetaError
from rhobeta.tracking.tags import BASELINE_TAG, BRANCH_TAG, COMMIT_TAG, DIRTY_TAG, EXPERIMENT_TAG

# Outputs tracked in git do not make the code dirty.
_OUTPUTS = (":(exclude)dvc.lock", ":(exclude)reports")


@dataclass(frozen=True)
class Code:
    """The commit that is checked out, and the difference from it."""

    commit: str
    branch: str
    dirty: bool
    diff: str

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

    Raises `RhobetaError` if there is no git or no commit: without them the run could not say which
    code made its model.
    """
    commit = _git(workspace, "rev-parse", "HEAD")
    status = _git(workspace, "status", "--porcelain", "--", ".", *_OUTPUTS)
    return Code(
        commit=commit,
        branch=_git(workspace, "rev-parse", "--abbrev-ref", "HEAD"),
        dirty=bool(status),
        diff=_git(workspace, "diff", "HEAD", "--", ".", *_OUTPUTS),
    )


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


def _git(workspace: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            # Asking changes nothing, not even the index.
            ["git", "--no-optional-locks", *arguments],
            cwd=workspace,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError:
        raise RhobetaError(
            "git is not installed, so the run could not say which code made its model.\n"
            "Install git and run the command again."
        ) from None
    if done.returncode != 0:
        fault = done.stderr.strip().splitlines()
        raise RhobetaError(
            f"git cannot tell which code this is: {fault[0] if fault else 'no answer'}\n"
            f"{workspace} must be a git repository with a commit: clone the project, or run"
            " `git init && git add . && git commit -m start`."
        )
    return done.stdout.strip()
