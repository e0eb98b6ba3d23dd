"""What a training leaves behind while it has not come to its end: its run, and its last state.

The folder's name is a digest of all that decides the outcome: parameters, data and code. So only
the same training, started again, finds it, wherever it is started from.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rhobeta
from rhobeta.files import read_json, sha256_of_bytes, write_bytes, write_json
from rhobeta.paths import Paths
from rhobeta.registry import EXTENSIONS

_PACKAGES = ("data", "metrics", "model", "training")
_DIGEST_LENGTH = 64


class Unfinished:
    """One training's folder; `state` and `run_id` are what an earlier try has left there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def run_id(self) -> str | None:
        """The MLflow run of the earlier try; None where there was none."""
        place = self._folder / "run.json"
        if not place.is_file():
            return None
        found = read_json(place, made_by="rhobeta train").get("run_id")
        return found if isinstance(found, str) else None

    def note_run(self, run_id: str) -> None:
        """Write down which run this training records into."""
        write_json(self._folder / "run.json", {"run_id": run_id})

    def state(self) -> bytes | None:
        """The last state; None where there is none, or a damaged one, which is said."""
        place = self._folder / "state"
        if not place.is_file():
            return None
        digest, state = _divided(place.read_bytes())
        if sha256_of_bytes(state) == digest:
            return state
        print(f"note: {place} is damaged; training begins anew")
        return None

    def keep(self, state: bytes) -> None:
        """Put `state` in the place of the last one, whole or not at all."""
        write_bytes(self._folder / "state", sha256_of_bytes(state).encode() + state)

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

    The parameters by dotted path, the data's digest, the sources of all that computes in it with
    those of extensions, and the version of torch.
    """
    package = Path(rhobeta.__file__).parent
    sources = [*(file for name in _PACKAGES for file in sorted((package / name).glob("*.py")))]
    sources.append(package / "stages" / "train.py")
    found = hashlib.sha256(json.dumps(dict(parameters), sort_keys=True).encode())
    for word in (data_sha256, version("torch")):
        found.update(word.encode())
    for name, source in sorted(EXTENSIONS.items()):
        found.update(name.encode() + source)
    for file in sources:
        found.update(file.name.encode() + file.read_bytes())
    return found.hexdigest()


def _divided(content: bytes) -> tuple[str, bytes]:
    digest, state = content[:_DIGEST_LENGTH], content[_DIGEST_LENGTH:]
    return digest.decode("ascii", errors="replace"), state
