"""Write experiments/digests.json: digests of the data and the code that the experiments run on.

    python -m experiments.digests

The experiments depend on this file alone, so that after a change of code `dvc status` names one
stage, not every experiment.
"""

import hashlib
from pathlib import Path

from ruamel.yaml import YAML

from rhobeta.paths import find_paths
from rhobeta.utils.files import sha256_of_file, write_json


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and digests of a folder's files without Python's own."""
    if path.is_file():
        return sha256_of_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.suffix != ".pyc")
    lines = [f"{file.relative_to(path).as_posix()} {sha256_of_file(file)}\n" for file in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def main() -> None:
    """Write the digests of what the stage `code` depends on."""
    root = find_paths().workspace
    text = (root / "experiments" / "dvc.yaml").read_text(encoding="utf-8")
    names = YAML(typ="safe").load(text)["stages"]["code"]["deps"]
    digests = {name: digest(root / name) for name in names if name != "experiments/digests.py"}
    write_json(root / "experiments" / "digests.json", digests)


if __name__ == "__main__":
    main()
