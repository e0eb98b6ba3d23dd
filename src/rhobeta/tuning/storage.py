"""The database that holds studies: where it is, that it answers, and its signs of life."""

import logging
import os
import re
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.store import without_password

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

STORAGE_VARIABLE = "RHOBETA_TUNE_STORAGE"
MOST_RETRIES = 3
"""How often a trial is put back into the queue whose worker was lost."""

_SILENT_BEATS = 3
_CONNECT_SECONDS = 10
_LOCK_SECONDS = 60
# Machines that meet a new database at once make its tables at once; all but one fail, and retry.
_ATTEMPTS = 5


def storage_url(paths: Paths, asked: str | None) -> str:
    """`RHOBETA_TUNE_STORAGE` where it is set, else `tune.storage`, else sqlite below mlruns.

    PostgreSQL addresses are given the driver that the project is tested with.
    """
    url = os.environ.get(STORAGE_VARIABLE) or asked or f"sqlite:///{paths.store / 'optuna.db'}"
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def sqlite_file(url: str) -> Path | None:
    """The file of an sqlite database; None for any other.

    Raises `RhobetaError` for one in memory, which no two processes share.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except ArgumentError:
        # No address at all; who opens it says so.
        return None
    if address.get_backend_name() != "sqlite":
        return None
    database = address.database or ":memory:"
    if ":memory:" in database or address.query.get("mode") == "memory":
        raise RhobetaError(
            "tune.storage names a database in memory, which workers cannot share.\nName a file:"
            " sqlite:////absolute/path.db, or null for mlruns/optuna.db."
        )
    return Path(database.removeprefix("file:")).absolute()


def one_at_a_time(url: str) -> AbstractContextManager[Any]:
    """A lock beside an sqlite file, for what only one process may do at once; else nothing.

    Optuna locks the rows that it is about to change. Servers do that; sqlite reads without locks.
    """
    file = sqlite_file(url)
    if file is None:
        return nullcontext()
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file.parent / ".optuna.lock")


def open_storage(url: str, *, heartbeat: int) -> "RDBStorage":
    """Reach the database and make its tables if it is new.

    A trial that has shown no sign of life for three times `heartbeat` seconds is failed by whoever
    looks next, and put back into the queue, at most three times. Raises `RhobetaError`, without
    the password, where the database cannot be used.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    quieten()
    try:
        # Two that make the tables of an sqlite file at once fail.
        with one_at_a_time(url):
            return _connect(url, heartbeat)
    except (ArgumentError, NoSuchModuleError) as error:
        raise RhobetaError(
            f"tune.storage {without_password(url)} is no address of a database ({error}).\n"
            "Expected such as postgresql://USER:PASSWORD@HOST:5432/DATABASE, or null for sqlite."
        ) from None
    except ImportError as error:
        raise RhobetaError(
            f"tune.storage {without_password(url)} needs a driver that is not installed"
            f" ({error.__cause__ or error}).\n"
            "For PostgreSQL: pip install 'psycopg[binary]'."
        ) from None
    except (SQLAlchemyError, StorageInternalError, RuntimeError, OSError) as error:
        reason = without_password(" ".join(str(error).split()))[:300]
        raise RhobetaError(
            f"The studies' database {without_password(url)} cannot be used: {reason}\n"
            f"Start its server, or correct tune.storage or {STORAGE_VARIABLE}; tune.storage null"
            " means sqlite in mlruns/."
        ) from None


def quieten() -> None:
    """Keep Optuna's log and its notes on what is experimental to itself."""
    import optuna
    from optuna.exceptions import ExperimentalWarning

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    # `alive` below gives the signs of life that `Study.optimize` would.
    warnings.filterwarnings("ignore", message="Heartbeat of storage")


@contextmanager
def alive(storage: "RDBStorage", trial_id: int) -> Iterator[None]:
    """Show signs of life of a trial, at once and every heartbeat, as long as the body runs."""
    end = threading.Event()
    interval = storage.get_heartbeat_interval()
    storage.record_heartbeat(trial_id)

    def beat() -> None:
        while not end.wait(interval):
            # A database that is away for a moment may be back at the next beat.
            try:
                storage.record_heartbeat(trial_id)
            except Exception:  # noqa: S112
                continue
        storage.remove_session()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _connect(url: str, heartbeat: int) -> "RDBStorage":
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    for attempt in range(_ATTEMPTS):
        try:
            return RDBStorage(
                url,
                engine_kwargs=_engine_settings(url),
                heartbeat_interval=heartbeat,
                grace_period=_SILENT_BEATS * heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MOST_RETRIES),
            )
        except (IntegrityError, ProgrammingError, OperationalError) as error:
            met_another = "already exists" in str(error) or "duplicate" in str(error)
            if not met_another or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.2 * (attempt + 1))
    raise RuntimeError("unreachable")


def _engine_settings(url: str) -> dict[str, object]:
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": _LOCK_SECONDS}}
    settings: dict[str, object] = {
        # A worker's own thread and its heartbeat: a hundred workers must fit into one server.
        "pool_size": 1,
        "max_overflow": 1,
        "pool_pre_ping": True,
    }
    if url.startswith("postgresql"):
        settings["connect_args"] = {"connect_timeout": _CONNECT_SECONDS}
    return settings
