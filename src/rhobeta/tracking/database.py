"""The sqlite file of the MLflow store: made whole, and sound before any work is spent on it."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from rhobeta.errors import RhobetaError
from rhobeta.files import whole_file

_BUSY_SECONDS = 20.0


def prepare_database(database: Path, artifacts: Path) -> None:
    """Make the database where there is none; check the one that is there.

    `artifacts` is the folder for the files of its default experiment. Raises `RhobetaError` where
    another program has locked the database for 20 seconds, and where it is damaged. sqlite keeps
    no checksums: what is checked is that tables and indexes hang together.
    """
    if database.exists() and database.stat().st_size:
        _require_sound(database)
    else:
        _create(database, artifacts)


def _create(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # MLflow makes the tables in dozens of steps. One that is killed between two of them would
    # leave a file that MLflow refuses for ever.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / database.name
        SqlAlchemyStore(f"sqlite:///{made}", artifacts.as_uri()).engine.dispose()
        with whole_file(database) as partial:
            shutil.copyfile(made, partial)


def _require_sound(database: Path) -> None:
    try:
        with closing(sqlite3.connect(database, timeout=_BUSY_SECONDS)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise RhobetaError(
                f"The MLflow store {database} is locked: another program has held it for"
                f" {_BUSY_SECONDS:g} seconds.\nWait until that program is done with it, or end it,"
                " and run the command again."
            ) from None
        found = str(error)
    if found != "ok":
        raise RhobetaError(
            f"The MLflow store {database} is damaged: {' '.join(found.split())}.\n"
            "Bring the file back from a backup; or move it away: a new one is made, and"
            f" `sqlite3 {database.name} .recover` may save what the old one holds."
        )
