"""The sqlite file of the MLflow store: created whole, and never migrated without asking."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rhobeta.errors import RhobetaError
from rhobeta.tracking.addresses import relocated
from rhobeta.utils.files import private_file

_BUSY_SECONDS = 20.0

# Where MLflow stores addresses of files.
_ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}


def prepare_database(database: Path, artifacts: Path) -> None:
    """Create the database if there is none; check an existing one.

    `artifacts` is the folder for files of MLflow's default experiment. The caller holds a lock:
    processes that create one database at once fail. Raises `RhobetaError` if the database is
    damaged, locked for 20 seconds, or of an older MLflow.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if database.exists() and database.stat().st_size:
        require_sound(database, "MLflow store", "training")
        require_current_tables(database)
        return
    # MLflow creates its tables in dozens of steps and refuses a file that was killed between two.
    partial = database.with_name(f".{database.name}.part")
    partial.unlink(missing_ok=True)
    try:
        private_file(partial)
        with _private_temporary_folder():
            SqlAlchemyStore(f"sqlite:///{partial}", artifacts.as_uri()).engine.dispose()
        partial.replace(database)
    finally:
        # What a full disk left of it.
        partial.unlink(missing_ok=True)


@contextmanager
def _private_temporary_folder() -> Iterator[None]:
    """Where MLflow puts its lock: the name is predictable, and others may write to `/tmp`."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as folder:
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


def recorded_places(database: Path, mlruns: Path) -> set[str]:
    """The folders outside `mlruns` that the experiments' addresses of its files name.

    Empty if the project is where it was when they were written.
    """
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    return {address for (address,) in rows if address and relocated(address, mlruns) != address}


def relocate(database: Path, mlruns: Path) -> None:
    """Bring the addresses of files below `mlruns`, if the project was moved or copied.

    All in one transaction. Raises `sqlite3.Error` if the database cannot be read or written.
    """
    if not recorded_places(database, mlruns):
        return
    with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as connection, connection:
        connection.create_function("relocated", 1, lambda address: relocated(address, mlruns))
        for table, columns in _ADDRESSES.items():
            for column in columns:
                connection.execute(
                    f"UPDATE {table} SET {column} = relocated({column})"  # noqa: S608
                    f" WHERE {column} IS NOT NULL AND {column} != relocated({column})"
                )


def require_current_tables(database: Path) -> None:
    """Raise `RhobetaError` if the database lacks tables of the installed MLflow.

    MLflow would migrate such a database without asking, in steps that cannot be undone. It checks
    the version of any other database itself.
    """
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  (registers the tables)
    from mlflow.store.db.base_sql_model import Base

    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            found = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    except sqlite3.DatabaseError:
        # MLflow says what is wrong with it.
        return
    if "alembic_version" in found and not set(Base.metadata.tables) <= found:
        raise RhobetaError(
            f"The MLflow store {database} was made by an older version of MLflow.\nKeep a copy of"
            f" the file, then run `mlflow db upgrade sqlite:///{database}`; nothing was changed."
        )


def require_sound(database: Path, name: str, maker: str) -> None:
    """Raise `RhobetaError` if an sqlite file is damaged, or locked for 20 seconds.

    The message calls it by `name` and says that `maker`, as in training, makes a new one.
    """
    # sqlite notices damage only in pages that it reads.
    try:
        with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise RhobetaError(
            f"The {name} {database} cannot be used: {' '.join(found.split())}.\nClose other"
            " programs that lock it; restore a damaged file from a backup, or move the file away:"
            f" the next {maker} makes a new one."
        )
