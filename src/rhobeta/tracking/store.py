"""The MLflow store: its address, whether it can be written, and its client."""

import logging
import os
import re
import shlex
import sqlite3
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.addresses import ARTIFACTS, local_path, relocated, require_remote
from rhobeta.tracking.availability import is_unavailable, reason_of
from rhobeta.tracking.database import (
    prepare_database,
    recorded_places,
    relocate,
    require_current_tables,
)
from rhobeta.tracking.redaction import message_of, without_password
from rhobeta.tracking.view import describe_experiment
from rhobeta.utils.files import private_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

_REQUEST_SECONDS = 10
_HEALTH_SECONDS = 3
_SQLITE = "sqlite:///"
_VARIABLE = "MLFLOW_TRACKING_URI"
_DATABASE = "mlflow.db"


class StoreUnavailableError(RhobetaError):
    """The store is a server that does not answer."""


@dataclass(frozen=True)
class Store:
    """An MLflow store and the experiment that runs go into."""

    uri: str
    """Its address, without credentials."""
    client: "MlflowClient"
    experiment_id: str
    """Empty if no new run can go into the store."""
    pending: Path | None = None
    """Where runs keep what the server could not take; None for a sqlite file."""
    mlruns: Path | None = None
    """The project's folder, where its own sqlite file and its runs' files are; else None."""

    def files_at(self, address: str) -> "ArtifactRepository":
        """What reads and writes the files at an address that the store gave.

        Raises `RhobetaError` if the store is a server and the address a path on this machine.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        if is_server(self.uri):
            require_remote(address, self.uri)
        elif self.mlruns is not None:
            address = relocated(address, self.mlruns)
        return get_artifact_repository(address, tracking_uri=self.uri)

    def folder_at(self, address: str) -> Path | None:
        """The folder on this machine that an address of the store means; None for a remote one."""
        if is_server(self.uri):
            return None
        return local_path(address if self.mlruns is None else relocated(address, self.mlruns))

    @contextmanager
    def required(self) -> Iterator[None]:
        """Raise `StoreUnavailableError` if the body fails because the server does not answer."""
        try:
            yield
        except RhobetaError:
            raise
        except Exception as error:
            if self.pending is None or not is_unavailable(error):
                raise
            raise StoreUnavailableError(
                f"The MLflow server {without_password(self.uri)} does not answer"
                f" ({reason_of(error)}).\nStart it, then run the command again."
            ) from None

    def answers(self) -> bool:
        """Whether the server answers, within three seconds."""
        try:
            if not is_server(self.uri):
                self.client.search_experiments(max_results=1)
                return True
            with urllib.request.urlopen(  # noqa: S310
                f"{self.uri.rstrip('/')}/health", timeout=_HEALTH_SECONDS
            ):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except Exception:
            return False


def store_uri(paths: Paths) -> str:
    """`MLFLOW_TRACKING_URI` if it is set, else the sqlite file below the store root.

    A relative sqlite address (`sqlite:///mlflow.db`) is relative to the store root: DVC runs
    experiments in temporary workspaces and deletes them. Raises `RhobetaError` for a folder, in
    which MLflow 3 keeps no runs any more.
    """
    uri = os.environ.get(_VARIABLE) or f"{_SQLITE}{paths.store / _DATABASE}"
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{paths.store_root / uri.removeprefix(_SQLITE)}"
    if uri.startswith("sqlite"):
        raise RhobetaError(
            f"{_VARIABLE}={uri} names no file that several processes could share.\n"
            f"Expected: {_SQLITE}FILE, such as {_SQLITE}{paths.store / _DATABASE}."
        )
    if urlsplit(uri).scheme in ("", "file") and not uri.startswith("databricks"):
        raise _file_store(paths, uri)
    return uri


def _file_store(paths: Paths, uri: str) -> RhobetaError:
    """The refusal of a folder as the store, with the command that brings its runs here."""
    folder = paths.store_root / (local_path(uri) or uri.removeprefix("file:"))
    reason = f"{_VARIABLE}={uri} names a folder. MLflow 3 keeps runs in databases alone"
    advice = f"Unset {_VARIABLE} to record into mlruns/, or name sqlite:///FILE or a server."
    if folder.is_file():
        advice = f"The address of an sqlite file is {_SQLITE}{folder}."
    elif folder.is_dir():
        free = (paths.store / name for name in (_DATABASE, "migrated.db"))
        database = next((file for file in free if not file.exists()), paths.store / "migrated.db")
        target = f"{_SQLITE}{database}"
        then = f"unset {_VARIABLE}"
        if database.name != _DATABASE:
            then = f"set {_VARIABLE}={target}"
        command = shlex.join(
            ["mlflow", "migrate-filestore", "--source", str(folder), "--target", target]
        )
        advice = f"To keep its runs: `{command}`, then {then}."
    return RhobetaError(f"{reason}, and MLFLOW_ALLOW_FILE_STORE does not change that.\n{advice}")


def is_server(uri: str) -> bool:
    """Whether the address is that of a tracking server, not of a database."""
    return uri.startswith(("http://", "https://"))


def pending_folder(paths: Paths) -> Path:
    """Where runs keep what their server could not take, one folder a run."""
    return paths.store / "pending"


def open_store(paths: Paths, experiment: str) -> Store:
    """Open the store, and create the experiment if it is new.

    Several processes may do so at once. Stages open the store before they do any work. Raises
    `RhobetaError` if the store cannot be written, and `StoreUnavailableError` if it is a server
    that does not answer.
    """
    uri = _prepared_uri(paths)
    if not uri.startswith(_SQLITE):
        artifacts = None if is_server(uri) else paths.store / ARTIFACTS
        return _open(uri, experiment, artifacts, pending_folder(paths), None)
    database = Path(uri.removeprefix(_SQLITE))
    mlruns = _own_folder(database, paths)
    # Files go beside a database elsewhere, which several projects may share.
    folder = mlruns or database.parent
    if re.search(r"[?%\ud800-\udfff]", str(database)):
        raise RhobetaError(
            f"The run cannot be recorded in {folder}: the address of a database cannot hold ?, % or"
            " bytes that are not UTF-8.\nRename the folder, or point MLFLOW_TRACKING_URI at"
            " another store."
        )
    artifacts = folder / ARTIFACTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        private_folder(artifacts)
    except OSError as error:
        raise RhobetaError(
            f"The run cannot be recorded in {folder} ({error.strerror}).\nMake it a folder"
            " that can be written, or point MLFLOW_TRACKING_URI at another store."
        ) from error
    with FileLock(folder / ".lock"):
        prepare_database(database, artifacts)
        return _open(uri, experiment, artifacts, None, mlruns)


def _own_folder(database: Path, paths: Paths) -> Path | None:
    """The project's `mlruns`, if the database is the project's own; None for one elsewhere."""
    return paths.store if database.is_relative_to(paths.store_root) else None


def places_before(paths: Paths) -> set[str]:
    """Where the project was when it recorded its runs, if it has been moved or copied since."""
    database = Path(store_uri(paths).removeprefix(_SQLITE))
    mlruns = _own_folder(database, paths)
    if mlruns is None or not database.is_file():
        return set()
    try:
        return recorded_places(database, mlruns)
    except sqlite3.Error:
        # Opening the store says what is wrong.
        return set()


def unavailable_store(paths: Paths) -> Store:
    """The store without asking whether it answers, for a run that is pending there."""
    from mlflow import MlflowClient

    uri = _prepared_uri(paths)
    return Store(uri, MlflowClient(uri), "", pending_folder(paths))


def open_store_to_read(paths: Paths) -> Store:
    """Open an existing store to read, and change nothing in it.

    Raises `RhobetaError` if there is none, or it does not answer.
    """
    found = find_store(paths)
    if found is None:
        place = without_password(store_uri(paths)).removeprefix(_SQLITE)
        raise RhobetaError(
            f"There are no runs yet: {place} does not exist.\n`dvc repro` trains a model and"
            " records its run; MLFLOW_TRACKING_URI names another store."
        )
    return found


def find_store(paths: Paths) -> Store | None:
    """As `open_store_to_read`, but None if there is no store."""
    uri, mlruns = _prepared_uri(paths), None
    if uri.startswith(_SQLITE):
        # MLflow would create a database.
        database = Path(uri.removeprefix(_SQLITE))
        if database.is_dir():
            raise _unusable(uri, OSError("it is a folder; expected a file"))
        if not (database.is_file() and database.stat().st_size):
            return None
        require_current_tables(database)
        mlruns = _own_folder(database, paths)
    elif not (is_server(uri) or _has_tables(uri)):
        return None
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        # MLflow refuses a database of another version.
        client.search_experiments(max_results=1)
        # A reader may lack the right; addresses are resolved when they are used, too.
        with suppress(sqlite3.Error):
            _follow(uri, mlruns)
    except (MlflowException, SQLAlchemyError, OSError, ImportError, ValueError) as error:
        raise _unusable(uri, error) from None
    pending = None if uri.startswith(_SQLITE) else pending_folder(paths)
    return Store(uri, client, "", pending, mlruns)


def _has_tables(uri: str) -> bool:
    """Whether a database has MLflow's tables, which MLflow would create at its first look."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(uri)
        try:
            return inspect(engine).has_table("alembic_version")
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise _unusable(uri, error) from None


def _open(
    uri: str, experiment: str, artifacts: Path | None, pending: Path | None, mlruns: Path | None
) -> Store:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        if mlruns is not None:
            # MLflow refuses a database of another version, before it is changed.
            client.search_experiments(max_results=1)
            _follow(uri, mlruns)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            place = None
            if artifacts is not None:
                place = artifacts.as_uri()
            try:
                known = client.get_experiment(client.create_experiment(experiment, place))
            except MlflowException:
                # Another process may have created it in this moment.
                known = client.get_experiment_by_name(experiment)
                if known is None:
                    raise
        _require_place(uri, known.artifact_location, experiment)
        number = known.experiment_id
        if known.lifecycle_stage == "deleted":
            client.restore_experiment(number)
        describe_experiment(client, number, known.tags)
    except (
        MlflowException, SQLAlchemyError, OSError, ImportError, ValueError, sqlite3.Error
    ) as error:  # fmt: skip
        raise _unusable(uri, error) from None
    return Store(uri, client, number, pending, mlruns)


def _follow(uri: str, mlruns: Path | None) -> None:
    """Bring the addresses in the project's own database to where the project is now."""
    if mlruns is not None:
        relocate(Path(uri.removeprefix(_SQLITE)), mlruns)


def _require_place(uri: str, address: str, experiment: str) -> None:
    """Raise `RhobetaError` if new files of the experiment cannot go to their address."""
    if is_server(uri):
        require_remote(address, uri)
        return
    folder = local_path(address)
    # MLflow makes the folder itself with the first file, but not below a project that is gone.
    if folder is not None and not folder.parent.is_dir():
        raise RhobetaError(
            f"The experiment {experiment} keeps the files of its runs in {folder}, and"
            f" {folder.parent} is not there.\nBring that folder back, or name another experiment"
            " in runtime.experiment."
        )


def _prepared_uri(paths: Paths) -> str:
    """The address as MLflow takes it, with MLflow's settings in the environment."""
    uri = store_uri(paths)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow would print the address of every run, and a bar for every file.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    # Read when mlflow is imported. Errors are raised as well, and explained by the command.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow\..*")
    if not is_server(uri):
        return uri
    # A server that does not answer should cost seconds, not MLflow's default of minutes.
    # Two requests take less than the 30 seconds that other processes wait for rank 0.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_REQUEST_SECONDS))
    return _hand_over_credentials(uri)


def _hand_over_credentials(uri: str) -> str:
    """Move user name and password from the address into the environment.

    MLflow takes credentials from the address or the environment, no other way, and quotes the
    address in errors and their tracebacks.
    """
    try:
        parts = urlsplit(uri)
        user, password = parts.username, parts.password
    except ValueError:
        return uri
    if user is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(user)
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(password or "")
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _unusable(uri: str, error: Exception) -> RhobetaError:
    # MLflow calls a newer database out of date, and would upgrade it.
    reason = message_of(error).partition(". Take a backup")[0]
    reason = reason.replace("Detected out-of-date database schema", "its MLflow is another version")
    reason = reason if len(reason) < 300 else f"{reason[:300]}..."
    found = f"The MLflow store {without_password(uri)} cannot be used: {reason}\n"
    if uri.startswith("sqlite"):
        return RhobetaError(
            f"{found}Close other programs that hold it, install the MLflow that made it, or move"
            " the file away: the next training makes a new one."
        )
    if isinstance(error, ImportError):
        return RhobetaError(f"{found}Install the driver of the database, or name another store.")
    kind = StoreUnavailableError if is_unavailable(error) else RhobetaError
    return kind(f"{found}Start the server, or unset MLFLOW_TRACKING_URI to record into mlruns/.")
