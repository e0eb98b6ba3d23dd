"""git, asked so that its answers do not depend on the user's settings."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from rhobeta.errors import RhobetaError

# Where git looks and whom it trusts. Others lead it to another repository, index or output.
_KEPT = ("GIT_CONFIG", "GIT_CEILING_", "GIT_DISCOVERY_", "GIT_EXEC_PATH", "GIT_TEST_")
_SETTINGS = (
    "core.autocrlf=false",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.quotePath=true",
    "core.splitIndex=false",
    "diff.suppressBlankEmpty=false",
    "i18n.logOutputEncoding=UTF-8",
    "log.showRoot=true",
)
_OPTIONS = [word for setting in _SETTINGS for word in ("-c", setting)]


def run_git(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run git in `folder` with the user's settings out of the way; its status is not checked.

    It writes nothing, not even its index. `environment` is added to that of the process. Raises
    `RhobetaError` if git is not installed.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(_KEPT)
    }
    try:
        return subprocess.run(
            ["git", "--no-optional-locks", *_OPTIONS, *arguments],
            cwd=folder,
            # Messages are searched for words: in English.
            env={**inherited, "LC_ALL": "C", **(environment or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        raise RhobetaError(
            "git is not installed, so nothing can say which code this is.\n"
            "Install git and run the command again."
        ) from None


def git_refusal(folder: Path, stderr: bytes) -> RhobetaError:
    """What git said when it failed in `folder`, with advice."""
    lines = stderr.decode(errors="replace").strip().splitlines()
    reason = lines[0] if lines else "no answer"
    command = next((line.strip() for line in lines if "safe.directory" in line), None)
    if command is not None:
        advice = f"The folder belongs to another user, as in containers. If you trust it: {command}"
    elif is_no_repository(stderr) or reason.endswith("Needed a single revision"):
        advice = (
            f"{folder} must be a git repository with a commit: clone the project, or run"
            " `git init && git add . && git commit -m start`."
        )
    else:
        advice = f"`git status` in {folder} says more."
    return RhobetaError(f"git cannot tell which code this is: {reason}\n{advice}")


def is_no_repository(stderr: bytes) -> bool:
    """Whether git failed because there is no repository around the folder."""
    return b"not a git repository (or any" in stderr
