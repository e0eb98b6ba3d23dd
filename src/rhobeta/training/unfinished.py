"""What a training leaves behind while it has not come to its end: its run, and its last state.

The folder's name is a digest of all that decides the outcome: parameters, data and code. So only
the same training, started again, finds it, wherever it is started from.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.training.code import training_code_digest
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum, verify_checksum
from rhobeta.utils.files import sha256_of_bytes, write_bytes


class Unfinished:
    """One training's folder; `state` and `run_id` are what an earlier try has left there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the earlier try; None where there was none."""
        found = self._kept("run", "training records into a new run")
        return None if found is None else found.decode()

    def note_run(self, run_id: str) -> None:
        """Write down which run this training records into."""
        self._keep("run", run_id.encode())

    def state(self) -> bytes | None:
        """The last state; None where there is none, or a damaged one, which is said."""
        return self._kept("state", "training begins anew")

    def keep(self, state: bytes) -> None:
        """Put `state` in the place of the last one, whole or not at all."""
        self._keep("state", state)

    def _keep(self, name: str, content: bytes) -> None:
        write_bytes(self._folder / name, add_checksum(EMPTY_CHECKSUM.encode() + content))

    def _kept(self, name: str, instead: str) -> bytes | None:
        place = self._folder / name
        if not place.is_file():
            return None
        content = place.read_bytes()
        try:
            verify_checksum(content)
        except RhobetaError:
            print(f"note: {place} is damaged; {instead}")
            return None
        return content[len(EMPTY_CHECKSUM) :]

    def remove(self) -> None:
        """Forget all of it: the training has come to its end."""
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def unfinished_training(
    paths: Paths, parameters: Mapping[str, Any], data_sha256: str
) -> Iterator[Unfinished]:
    """The folder of the training that these make, held for this process alone.

    Where another process holds it, which trains the same at the same time, it is a passing one.
    """
    from filelock import FileLock, Timeout

    folder = paths.unfinished / training_digest(parameters, data_sha256)
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_suffix(".lock"), blocking=False)
    try:
        lock.acquire()
    except Timeout:
        print("note: the same is trained in another process; this one keeps no state to go on from")
        with TemporaryDirectory() as passing:
            yield Unfinished(Path(passing))
        return
    try:
        yield Unfinished(folder)
    finally:
        # Before it is released: who comes in between trains the same, and writes the same.
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def training_digest(parameters: Mapping[str, Any], data_sha256: str) -> str:
    """SHA-256 of what decides a training's outcome.

    The parameters by dotted path, the data's digest, the code with that of extensions, and the
    version of torch.
    """
    decisive = [dict(parameters), data_sha256, training_code_digest(), version("torch")]
    return sha256_of_bytes(json.dumps(decisive, sort_keys=True).encode())
