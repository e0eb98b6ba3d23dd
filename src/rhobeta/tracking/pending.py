"""Data that could not be sent to the store because the server did not answer.

One folder a run, `mlruns/pending/<run id>/`: `run.json` holds values, `artifacts/` the files as
they are to lie in the run, `model/` the packaged model. The folder is removed once the server has
all of it. Sending it twice has the same effect.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from rhobeta.errors import RhobetaError
from rhobeta.tracking.availability import is_unavailable, reason_of
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.tags import MODEL_TAG
from rhobeta.tracking.upload import Values, send_file, send_model, send_values
from rhobeta.utils.files import atomic_folder, private_folder, write_text

if TYPE_CHECKING:
    from rhobeta.tracking.store import Store

_VALUES = "run.json"
_ARTIFACTS = "artifacts"
_MODEL = "model"


@dataclass(frozen=True)
class PendingRun:
    """A run that is incomplete in its store."""

    folder: Path
    store: str
    """The address of its server, without credentials."""
    values: Values

    @property
    def run_id(self) -> str:
        """The run's id in the store."""
        return self.folder.name

    @property
    def model_sha256(self) -> str | None:
        """The model that it made, if that is known."""
        return self.values.tags.get(MODEL_TAG)

    def is_for(self, uri: str) -> bool:
        """Whether the run belongs to the store at this address."""
        return self.store == _place(uri)


@dataclass
class Flushed:
    """The outcome of a flush."""

    completed: list[str] = field(default_factory=list)
    """Ids of runs that the store has whole now."""
    failed: dict[str, str] = field(default_factory=dict)
    """Ids of runs that it still lacks a part of, and why."""


def pending_runs(root: Path) -> list[PendingRun]:
    """All pending runs, of any store, by their ids. Raises `RhobetaError` if one is damaged."""
    found = []
    for file in sorted(root.glob(f"*/{_VALUES}")):
        # Another process may complete the run in this moment.
        with suppress(FileNotFoundError):
            found.append(_read(file.parent))
    return found


def find_pending(root: Path, uri: str, model_sha256: str) -> PendingRun | None:
    """The pending run of this store that made the model."""
    found = (run for run in pending_runs(root) if run.model_sha256 == model_sha256)
    return next((run for run in found if run.is_for(uri)), None)


def is_pending(store: "Store", run_id: str) -> bool:
    """Whether the store lacks a part of the run."""
    return store.pending is not None and (store.pending / run_id / _VALUES).is_file()


def keep_values(store: "Store", run_id: str, values: Values) -> None:
    """Keep values for a run until its server answers."""
    with _folder(store, run_id) as folder:
        pending = _read(folder)
        pending.values.update(values)
        _write(pending)


def keep_file(store: "Store", run_id: str, source: Path, folder: str | None) -> None:
    """Keep a copy of a file or folder that is to lie in this folder of the run's artifacts."""
    with _folder(store, run_id) as pending:
        target = pending / _ARTIFACTS / (folder or "") / source.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)


def keep_model(store: "Store", run_id: str, source: Path) -> None:
    """Keep a copy of the run's packaged model."""
    with _folder(store, run_id) as pending, atomic_folder(pending / _MODEL) as partial:
        shutil.copytree(source, partial, dirs_exist_ok=True)


def flush_pending(store: "Store", run_id: str | None = None) -> Flushed:
    """Send the store what it lacks, of all its runs or of one; what fails stays pending.

    Leaves out a run that another process is at work on.
    """
    outcome = Flushed()
    if store.pending is None:
        return outcome
    for run in pending_runs(store.pending):
        if not run.is_for(store.uri) or run_id not in (None, run.run_id):
            continue
        try:
            with _lock(store.pending, run.run_id, blocking=False):
                if (run.folder / _VALUES).is_file():
                    _send(store, _read(run.folder))
        except Timeout:
            continue
        except Exception as error:
            outcome.failed[run.run_id] = reason_of(error)
            if is_unavailable(error) and not store.answers():
                break
        else:
            outcome.completed.append(run.run_id)
    return outcome


def _send(store: "Store", run: PendingRun) -> None:
    send_values(store.client, run.run_id, replace(run.values, measured=[], status=None))
    for path in sorted((run.folder / _ARTIFACTS).glob("*")):
        send_file(store, run.run_id, path)
    if (run.folder / _MODEL).is_dir():
        send_model(store, run.run_id, run.folder / _MODEL)
    # After the model, to which they are linked.
    send_values(store.client, run.run_id, Values(measured=run.values.measured))
    # Last, so that a run that has finished has everything.
    send_values(store.client, run.run_id, Values(status=run.values.status, ended=run.values.ended))
    (run.folder / _VALUES).unlink()
    shutil.rmtree(run.folder, ignore_errors=True)


@contextmanager
def _folder(store: "Store", run_id: str) -> Iterator[Path]:
    """The run's folder, for this process alone."""
    assert store.pending is not None  # noqa: S101
    folder = store.pending / run_id
    private_folder(store.pending)
    folder.mkdir(exist_ok=True)
    with _lock(store.pending, run_id):
        if not (folder / _VALUES).is_file():
            _write(PendingRun(folder, _place(store.uri), Values()))
        yield folder


def _lock(root: Path, run_id: str, *, blocking: bool = True) -> FileLock:
    return FileLock(root / f".{run_id}.lock", blocking=blocking)


def _write(run: PendingRun) -> None:
    content = {"store": run.store, "values": asdict(run.values)}
    write_text(run.folder / _VALUES, json.dumps(content))


def _read(folder: Path) -> PendingRun:
    file = folder / _VALUES
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return PendingRun(folder, found["store"], Values(**found["values"]))
    except (ValueError, TypeError, KeyError):
        raise RhobetaError(
            f"{file} is damaged.\nRemove {folder}: what it holds of run {folder.name} is lost, and"
            " the other runs can be completed."
        ) from None


def _place(uri: str) -> str:
    return without_password(uri).rstrip("/")
