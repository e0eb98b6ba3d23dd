"""The code that a model depends on: one definition for DVC, checkpoints and provenance."""

from pathlib import Path

import rhobeta
from rhobeta.extensions import EXTENSIONS
from rhobeta.utils.files import sha256_of_bytes

TRAINING_CODE = ("data", "extensions.py", "metrics", "model", "pipeline/train.py", "training")
"""Files and folders of the package whose content can change a trained weight.

The stage `train` of dvc.yaml depends on the same ones.
"""


def training_code_digest() -> str:
    """SHA-256 of the sources in `TRAINING_CODE` and of the extensions that are loaded."""
    package = Path(rhobeta.__file__).parent
    files = [
        file
        for name in TRAINING_CODE
        for file in (sorted((package / name).rglob("*.py")) or [package / name])
    ]
    sources = [(str(file.relative_to(package)), file.read_bytes()) for file in files]
    sources += sorted(EXTENSIONS.items())
    return sha256_of_bytes(b"\0".join(name.encode() + source for name, source in sources))
