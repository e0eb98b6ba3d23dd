"""The database of studies: its address, its tables, its heartbeats.

Local studies use sqlite. Four processes on 30 queued and 33 new trials gave: plain sqlite ran five
queued trials twice, since it reads without locks; sqlite with `BEGIN IMMEDIATE` ran none twice, and
`JournalFileBackend` ran none twice. Journals have no heartbeat, so that the trial of a killed
worker would stay running. `open_storage` therefore uses sqlite with `BEGIN IMMEDIATE`.
"""

import logging
import os
import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.database import require_sound
from rhobeta.tracking.redaction import remember_address, without_password
from rhobeta.utils.files import private_file

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from sqlalchemy import Connection, Engine

STORAGE_VARIABLE = "RHOBETA_TUNE_STORAGE"
GRACE_BEATS = 3
"""Heartbeats without a sign of life after which a trial counts as lost."""

_MOST_RETRIES = 3
_ATTEMPTS = 5
_TABLES_EXIST = ("already exists", "duplicate", "unique constraint failed")
_SQLITE_ENGINE = {"connect_args": {"timeout": 60}}
# One connection for a worker, one for its heartbeat: servers allow few connections.
_SERVER_ENGINE = {"pool_size": 1, "max_overflow": 1, "pool_pre_ping": True}


def storage_url(paths: Paths, asked: str | None) -> str:
    """`RHOBETA_TUNE_STORAGE` where it is set, else `tune.storage`, else sqlite below mlruns.

    A relative sqlite file is relative to the project (`Paths.given`). PostgreSQL addresses get the
    driver that the project is tested with.
    """
    url = os.environ.get(STORAGE_VARIABLE) or asked or f"sqlite:///{paths.store / 'optuna.db'}"
    match = re.fullmatch(r"(sqlite(?:\+\w+)?:///(?:file:)?)(?!:memory:)([^?]+)(.*)", url, re.DOTALL)
    if match is not None:
        return f"{match[1]}{paths.given(match[2])}{match[3]}"
    return re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)


def sqlite_file(url: str) -> Path | None:
    """The file of an sqlite database; None for any other address.

    Raises `RhobetaError` for a database in memory, which processes cannot share.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # Not an address. `open_storage` explains that.
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


def open_storage(url: str, *, heartbeat: int) -> "RDBStorage":
    """Reach the database, and make its tables if it is new.

    Workers record a heartbeat every `heartbeat` seconds. A trial without one for three times as
    long counts as failed, and is queued again, at most three times. Raises `RhobetaError`, without
    the password, where the database cannot be used.
    """
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    quieten()
    remember_address(url)
    file = sqlite_file(url)
    faults = (SQLAlchemyError, StorageInternalError, ImportError, RuntimeError, OSError, ValueError)
    try:
        if file is not None:
            private_file(file)
            require_sound(file, "studies' database", "search")
        storage = _connect(url, heartbeat)
    except faults as error:
        reason = without_password(" ".join(str(error.__cause__ or error).split()))[:300]
        raise RhobetaError(
            f"The studies' database {without_password(url)} cannot be used: {reason}\n"
            f"Expected in tune.storage or {STORAGE_VARIABLE}: null for sqlite in mlruns/, or an"
            " address such as postgresql://USER:PASSWORD@HOST:5432/DATABASE of a server that runs,"
            " with its driver (pip install 'psycopg[binary]')."
        ) from None
    if file is not None:
        _begin_immediate(storage.engine)
    return storage


def quieten() -> None:
    """Silence Optuna's log and its warnings about experimental features."""
    import optuna
    from optuna.exceptions import ExperimentalWarning

    # The traceback of a failed trial; the trial and its run keep the error.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=ExperimentalWarning)


def _connect(url: str, heartbeat: int) -> "RDBStorage":
    from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
    from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

    engine = _SERVER_ENGINE if sqlite_file(url) is None else _SQLITE_ENGINE
    for attempt in range(_ATTEMPTS):
        try:
            return RDBStorage(
                # Optuna takes it for a template.
                url.replace("{", "{{").replace("}", "}}"),
                engine_kwargs=engine,
                heartbeat_interval=heartbeat,
                grace_period=GRACE_BEATS * heartbeat,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(_MOST_RETRIES),
            )
        except (IntegrityError, ProgrammingError, OperationalError) as error:
            # Processes that make the tables at once: all but one fail, and try again.
            reason = str(error).lower()
            met_another = any(words in reason for words in _TABLES_EXIST)
            if not met_another or attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.2 * (attempt + 1))
    raise RuntimeError("unreachable")


def _begin_immediate(engine: "Engine") -> None:
    """Take sqlite's write lock when a transaction begins, so that no two claim one trial.

    Source: SQLAlchemy's documentation of the sqlite dialect, "Serializable isolation / Savepoints /
    Transactional DDL".
    """
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def leave_transactions_to_sqlalchemy(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: "Connection") -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    # Connections that are open already have not seen the first event.
    engine.dispose()
