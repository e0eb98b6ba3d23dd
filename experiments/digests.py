"""Write experiments/digests.json: digests of the data and the code that the experiments run on.

    python -m experiments.digests

The experiments depend on this file alone. The code is outside of their DVC project, which would
take Python's own files in its folders for a part of it.
"""

import hashlib
from pathlib import Path

from rhobeta.paths import find_paths
from rhobeta.utils.files import sha256_of_file, write_json

PATHS = (
    "data/raw",
    "experiments/baselines.py",
    "experiments/dead_units.py",
    "experiments/default.py",
    "experiments/self_taught.py",
    "experiments/targets.py",
    "experiments/train_and_measure.py",
    "src/rhobeta/data",
    "src/rhobeta/extensions.py",
    "src/rhobeta/metrics",
    "src/rhobeta/model",
    "src/rhobeta/pipeline/evaluate.py",
    "src/rhobeta/pipeline/preprocess.py",
    "src/rhobeta/pipeline/train.py",
    "src/rhobeta/training",
)
"""What the experiments run on."""


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and digests of a folder's files without Python's own."""
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")
    lines = [f"{file.relative_to(path).as_posix()} {sha256_of_file(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def main() -> None:
    """Write the digests of `PATHS`."""
    root = find_paths().workspace
    write_json(root / "experiments" / "digests.json", {name: digest(root / name) for name in PATHS})


if __name__ == "__main__":
    main()
