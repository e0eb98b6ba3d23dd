"""The sqlite file of the MLflow store: made whole, and sound before any work is spent on it."""

import re
import shutil
import sqlite3
import tempfile
from contextlib import closing
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from rhobeta.errors import RhobetaError
from rhobeta.utils.files import atomic_write

_BUSY_SECONDS = 20.0
_REVISION = re.compile(r"^revision = ['\"](\w+)", re.MULTILINE)
_FOLLOWS = re.compile(r"^down_revision = (.*)$", re.MULTILINE)


def prepare_database(database: Path, artifacts: Path) -> None:
    """Make the database where there is none; check the one that is there.

    `artifacts` is the folder for the files of its default experiment. Raises `RhobetaError` where
    another program has locked the database for 20 seconds, where it is damaged, and where it is of
    another version. sqlite keeps no checksums: what is checked is that tables and indexes hang
    together.
    """
    if database.exists() and database.stat().st_size:
        _require_sound(database)
        require_known_version(database)
    else:
        _create(database, artifacts)


def _create(database: Path, artifacts: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    # MLflow makes the tables in dozens of steps. One that is killed between two of them would
    # leave a file that MLflow refuses for ever.
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / database.name
        SqlAlchemyStore(f"sqlite:///{made}", artifacts.as_uri()).engine.dispose()
        with atomic_write(database) as partial:
            shutil.copyfile(made, partial)


def require_known_version(database: Path) -> None:
    """Raise `RhobetaError` where the database is of another version than the installed MLflow.

    MLflow would change the one of an older version, or fail on the one of a newer, at its first
    look. It is read here without MLflow.
    """
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        # No database of MLflow, or a damaged one: told elsewhere.
        return
    known = known_versions()
    if found is None or not known or found[0] == known[-1]:
        return
    here = f"the installed MLflow {version('mlflow')}"
    if found[0] in known:
        raise RhobetaError(
            f"The MLflow store {database} is of an older version ({found[0]}) than {here} works"
            f" with ({known[-1]}).\nKeep a copy of the file, then run `mlflow db upgrade"
            f" sqlite:///{database}`; nothing was changed."
        )
    raise RhobetaError(
        f"The MLflow store {database} was made by a newer MLflow: {here} does not know its version"
        f" {found[0]}.\nInstall the MLflow that made it (pip install --upgrade mlflow), or point"
        " MLFLOW_TRACKING_URI at another store; nothing was changed."
    )


def known_versions() -> list[str]:
    """The versions of the database that the installed MLflow knows, the present one last.

    Empty where MLflow is not installed. It is not imported.
    """
    package = find_spec("mlflow")
    if package is None or package.origin is None:
        return []
    folder = Path(package.origin).parent / "store" / "db_migrations" / "versions"
    texts = [path.read_text(encoding="utf-8") for path in folder.glob("*.py")]
    names = [match[1] for text in texts if (match := _REVISION.search(text))]
    # A version may follow several, which were made apart.
    lines = [match[1] for text in texts if (match := _FOLLOWS.search(text))]
    followed = {name for line in lines for name in re.findall(r"['\"](\w+)['\"]", line)}
    return sorted(names, key=lambda name: name not in followed)


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
