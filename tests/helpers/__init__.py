"""What tests share that is not a fixture; fixtures for all tests are in `tests/conftest.py`.

- `helpers`: the digits, parameters of a quick training, projects in a folder, git.
- `helpers.clones`: clones of the working tree in which the real pipeline runs.
- `helpers.emulator`, `helpers.all_stages`: the stages on another CPU.
- `helpers.fitting`: a small training, and its disturbances.
- `helpers.injected`: faults (full disks, little memory, killed processes) and what holds after.
- `helpers.pages`: HTML pages as tests read them.
- `helpers.debian`: programs from Debian's packages.
- `helpers.postgresql`, `helpers.servers`: real servers on this machine.
- `helpers.searching`: small studies.
- `helpers.task_samples`: metrics of the downstream tasks for reports.
- `helpers.together`: the same training in several processes.
"""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ruamel.yaml import YAML

from rhobeta.data.idx import write_idx_header
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum

# Read when mlflow is imported, which a test may do before the code under test.
os.environ["MLFLOW_LOGGING_LEVEL"] = "CRITICAL"

REPOSITORY = Path(__file__).parents[2]
STAGES = ("download", "preprocess", "train", "evaluate", "visualize")

# Variables that would lead a test into the store or the experiment of its user.
OUTSIDE = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV")

DIGITS = Path(__file__).parents[1] / "fixtures" / "digits.npz"

# What tests change: rho and beta as they are given or searched, on clean images.
PLAIN = {
    "penalty.rho": 0.03183,
    "penalty.beta": 0.002745,
    "penalty.target": None,
    "training.learning_rate": 0.01,
    "training.noise": 0.0,
    "tune.space": {
        "penalty.rho": {"low": 0.01, "high": 0.5, "log": True},
        "penalty.beta": {"low": 0.0001, "high": 0.1, "log": True},
    },
}

# A few seconds of training on the fixture; everything else as shipped.
QUICK = {
    "data.name": "own",
    "training.epochs": 2,
    "training.batch_size": 64,
    "model.hidden_sizes": [16],
    "penalty.rho": 0.2,
    "evaluate.few_labels": [5, 20],
    "visualize.embedding": "pca",
    "visualize.embedding_images": 100,
    "visualize.dpi": 50,
    "runtime.accelerator": "cpu",
    "runtime.threads": 1,
}


StartAfter = Callable[[str], None]
"""Brings a workspace to where a stage has just run."""

NewStore = Callable[..., Any]
"""Opens a new MLflow store at the paths that it is given."""


def shipped_values() -> dict[str, Any]:
    """The committed params.yaml as nested plain values."""
    values: dict[str, Any] = YAML(typ="safe").load((REPOSITORY / "params.yaml").read_text())
    return values


def with_changes(changes: dict[str, Any]) -> dict[str, Any]:
    """The committed parameters with some changed, by dotted path.

    Before the changes, the objective is `PLAIN`.
    """
    values = shipped_values()
    for path, value in (PLAIN | changes).items():
        *sections, name = path.split(".")
        section = values
        for part in sections:
            section = section[part]
        section[name] = value
    return values


def git(folder: Path, *arguments: str) -> str:
    """Run git as a user with a name."""
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def write_params(folder: Path, changes: dict[str, Any]) -> None:
    """Write params.yaml into `folder`: the committed one with changes."""
    with (folder / "params.yaml").open("w") as file:
        YAML(typ="safe").dump(with_changes(changes), file)


def with_right_checksum(content: bytes) -> bytes:
    """`content` with a right checksum, in the place of its own or behind it.

    So a test reaches the checks that come after the checksum.
    """
    emptied, found = re.subn(rb"sha256:[0-9a-f]{64}", EMPTY_CHECKSUM.encode(), content, count=1)
    return add_checksum(emptied if found else content + EMPTY_CHECKSUM.encode())


def idx_bytes(values: NDArray[np.uint8]) -> bytes:
    """The IDX file of an array of bytes."""
    file = io.BytesIO()
    write_idx_header(file, values.shape)
    file.write(np.ascontiguousarray(values).data)
    return file.getvalue()


def make_project(folder: Path) -> None:
    """A committed project in `folder` with the fixture as its own data."""
    (folder / "data" / "own").mkdir(parents=True)
    shutil.copy(DIGITS, folder / "data" / "own" / "digits.npz")
    shutil.copy(REPOSITORY / "dvc.yaml", folder)
    shutil.copytree(REPOSITORY / "extensions", folder / "extensions")
    write_params(folder, QUICK)
    (folder / ".gitignore").write_text("data/\nmodels/\nreports/\nmlruns/\n.rhobeta.lock\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=start")
