"""Clones of the working tree in which tests run the real pipeline."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from helpers import DIGITS, OUTSIDE, QUICK, REPOSITORY, STAGES, git, write_params


class Clone:
    """A clone of the working tree, in which the environment's commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        done = self.attempt(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def attempt(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """As `run`, but the command may fail."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    @property
    def environment(self) -> dict[str, str]:
        """Of a command in the clone: its tools, its code, and nothing of who runs the tests."""
        outside = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
        return {
            **outside,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            # The number of threads may change the bytes: docs/guarantees.md.
            "OMP_NUM_THREADS": "1",
            "GIT_AUTHOR_NAME": "Tester",
            "GIT_AUTHOR_EMAIL": "tester@example.com",
            "GIT_COMMITTER_NAME": "Tester",
            "GIT_COMMITTER_EMAIL": "tester@example.com",
        }

    def stages_run_by(self, *command: str) -> list[str]:
        output = self.run(*command).stdout
        return [stage for stage in STAGES if f"Running stage '{stage}'" in output]

    def runs(self) -> list[Any]:
        from mlflow import MlflowClient

        client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        experiments = [e.experiment_id for e in client.search_experiments()]
        return list(client.search_runs(experiments, order_by=["attributes.start_time ASC"]))

    def metrics(self) -> dict[str, Any]:
        metrics: dict[str, Any] = json.loads((self.folder / "reports/details.json").read_text())
        return metrics

    def change(self, **changes: Any) -> None:
        named = {name.replace("__", "."): value for name, value in changes.items()}
        write_params(self.folder, QUICK | named)


def copy_of(clone: Clone, folder: Path) -> Clone:
    """A copy of a clone in another folder, for a test that changes it."""
    shutil.copytree(clone.folder, folder)
    return Clone(folder)


def make_clone(folder: Path) -> Clone:
    """The working tree's files in a repository of their own, with the fixture as own data."""
    listed = git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard")
    for name in listed.splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    shutil.copy(DIGITS, folder / "data" / "own")
    write_params(folder, QUICK)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=start")
    return Clone(folder)
