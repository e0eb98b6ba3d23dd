"""Where the checkpoints of a training are, and what identifies the training.

The folder's name is a digest of parameters, data, code and the version of torch. So only the same
training finds it, wherever it is started.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from filelock import FileLock, Timeout

from rhobeta.paths import Paths
from rhobeta.training.code import training_code_digest
from rhobeta.utils.files import private_folder, sha256_of_bytes, write_text


class CheckpointFolder:
    """What an interrupted training leaves: its last checkpoint, and the run that it logs into."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.last = folder / "last.ckpt"
        """The last checkpoint; absent before the first."""

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the interrupted training; None where there was none."""
        file = self._folder / "run_id"
        return file.read_text(errors="replace") if file.is_file() else None

    def note_run(self, run_id: str) -> None:
        """Write down which run this training logs into."""
        write_text(self._folder / "run_id", run_id)

    def remove(self) -> None:
        """Delete all of it, since the training has finished."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def checkpoint_folder(
    paths: Paths, hparams: Mapping[str, Any], data_sha256: str
) -> Iterator[CheckpointFolder]:
    """The folder of this training, locked.

    A second process that trains the same at the same time gets a temporary folder.
    """
    folder = paths.checkpoints / training_digest(hparams, data_sha256)
    private_folder(folder.parent)
    lock = FileLock(folder.with_suffix(".lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        print("note: another process runs the same training; this one keeps no checkpoints")
        with TemporaryDirectory() as temporary:
            yield CheckpointFolder(Path(temporary))
        return
    try:
        yield CheckpointFolder(folder)
    finally:
        # Before the release: a process that starts in between writes the same checkpoints.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def training_digest(hparams: Mapping[str, Any], data_sha256: str) -> str:
    """SHA-256 of what decides the result of a training.

    That is the parameters by dotted path, the data's digest, the code including extensions, and the
    version of torch.
    """
    decisive = [dict(hparams), data_sha256, training_code_digest(), version("torch")]
    return sha256_of_bytes(json.dumps(decisive, sort_keys=True).encode())
