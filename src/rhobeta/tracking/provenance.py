"""The code, experiment and user of a run, from git, DVC and the system."""

import getpass
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from rhobeta.config.params import read_yaml
from rhobeta.config.presets import as_override
from rhobeta.errors import RhobetaError
from rhobeta.tracking.tags import BASELINE_TAG, BRANCH_TAG, COMMIT_TAG, DIRTY_TAG, EXPERIMENT_TAG

# Outputs tracked in git do not make the code dirty.
_OUTPUTS = (":(exclude)dvc.lock", ":(exclude)reports")
_PARAMETERS = "params.yaml"
# Of the parameters, those that a stage depends on.
_SECTIONS = ("data", "model", "penalty", "topk", "training", "evaluate", "visualize")
_ABSENT = object()


@dataclass(frozen=True)
class Code:
    """The commit that is checked out, and the difference from it."""

    commit: str
    branch: str
    dirty: bool
    diff: str
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
        command=_command(workspace, commit),
    )


def _command(workspace: Path, commit: str) -> str:
    """What repeats work on the state of `workspace` in a clone.

    Changed parameters are set; where other files differ, the run's artifact with the difference
    is applied. Files that git does not track are named: no run has them.
    """
    words = [f"git checkout {commit[:12]}"]
    others = [".", *_OUTPUTS, f":(exclude){_PARAMETERS}"]
    if _git(workspace, "diff", "--name-only", "HEAD", "--", *others):
        words += ["git apply uncommitted.diff", "dvc repro"]
    else:
        changed = _changed_parameters(workspace)
        settings = [f"-S {shlex.quote(f'{k}={as_override(v)}')}" for k, v in changed.items()]
        words.append(" ".join(["dvc exp run", *settings]) if settings else "dvc repro")
    untracked = _git(workspace, "ls-files", "--others", "--exclude-standard", "--", *others)
    note = f"  # with the untracked {', '.join(untracked.splitlines())}" if untracked else ""
    return " && ".join(words) + note


def _changed_parameters(workspace: Path) -> dict[str, Any]:
    """The parameters of the stages that are not those of the commit, by dotted path."""
    if not _git(workspace, "diff", "--name-only", "HEAD", "--", _PARAMETERS):
        return {}
    committed = YAML(typ="safe").load(_git(workspace, "show", f"HEAD:./{_PARAMETERS}"))
    present = read_yaml(workspace / _PARAMETERS)
    return {
        f"{section}.{key}": value
        for section in _SECTIONS
        for key, value in present[section].items()
        if value != committed.get(section, {}).get(key, _ABSENT)
    }


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
