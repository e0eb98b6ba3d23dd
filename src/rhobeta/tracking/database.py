"""The sqlite file of the MLflow store: created whole, and never migrated without asking."""

import sqlite3
from contextlib import closing
from pathlib import Path

from rhobeta.errors import RhobetaError

_BUSY_SECONDS = 20.0


def prepare_database(database: Path, artifacts: Path) -> None:
    """Create the database if there is none; check an existing one.

    `artifacts` is the folder for files of MLflow's default experiment. The caller holds a lock:
    processes that create one database at once fail. Raises `RhobetaError` if the database is
    damaged, locked for 20 seconds, or of an older MLflow.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    if database.exists() and database.stat().st_size:
        _require_sound(database)
        require_current_tables(database)
        return
    # MLflow creates its tables in dozens of steps and refuses a file that was killed between two.
    partial = database.with_name(f".{database.name}.part")
    partial.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{partial}", artifacts.as_uri()).engine.dispose()
    partial.replace(database)


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


def _require_sound(database: Path) -> None:
    # sqlite notices damage only in pages that it reads.
    try:
        with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise RhobetaError(
            f"The MLflow store {database} cannot be used: {' '.join(found.split())}.\nClose other"
            " programs that lock it; restore a damaged file from a backup, or move the file away:"
            " the next training makes a new one."
        )
