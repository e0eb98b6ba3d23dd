"""The MLflow store: its address, whether it can be written, and its client."""

import logging
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from filelock import FileLock

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.availability import is_unavailable, reason_of
from rhobeta.tracking.database import prepare_database, require_current_tables
from rhobeta.tracking.redaction import message_of, without_password
from rhobeta.tracking.view import describe_experiment

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REQUEST_SECONDS = 10
_HEALTH_SECONDS = 3
_SQLITE = "sqlite:///"


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
    experiments in temporary workspaces and deletes them.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{paths.store / 'mlflow.db'}"
    if uri.startswith(_SQLITE):
        return f"{_SQLITE}{paths.store_root / uri.removeprefix(_SQLITE)}"
    return uri


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
        return _open(uri, experiment, None, pending_folder(paths))
    if {"?", "%"} & set(str(paths.store)):
        raise RhobetaError(
            f"The run cannot be recorded in {paths.store}: the address of a database cannot hold ?"
            " or %.\nRename the folder, or point MLFLOW_TRACKING_URI at another store."
        )
    try:
        paths.store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RhobetaError(
            f"The run cannot be recorded in {paths.store} ({error.strerror}).\nMake it a folder"
            " that can be written, or point MLFLOW_TRACKING_URI at another store."
        ) from error
    artifacts = paths.store / "artifacts"
    with FileLock(paths.store / ".lock"):
        if uri == f"{_SQLITE}{paths.store / 'mlflow.db'}":
            prepare_database(paths.store / "mlflow.db", artifacts)
        return _open(uri, experiment, artifacts.as_uri(), None)


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
    uri = _prepared_uri(paths)
    if uri.startswith(_SQLITE):
        # MLflow would create a database.
        database = Path(uri.removeprefix(_SQLITE))
        if not (database.is_file() and database.stat().st_size):
            return None
        require_current_tables(database)
    elif not (is_server(uri) or _has_tables(uri)):
        return None
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise _unusable(uri, error) from None
    return Store(uri, client, "", None if uri.startswith(_SQLITE) else pending_folder(paths))


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
    except (SQLAlchemyError, ImportError) as error:
        raise _unusable(uri, error) from None


def _open(uri: str, experiment: str, artifacts: str | None, pending: Path | None) -> Store:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        if known is None:
            try:
                number, tags = client.create_experiment(experiment, artifacts), {}
            except MlflowException:
                # Another process may have created it in this moment.
                known = client.get_experiment_by_name(experiment)
                if known is None:
                    raise
        if known is not None:
            number, tags = known.experiment_id, known.tags
            if known.lifecycle_stage == "deleted":
                client.restore_experiment(number)
        describe_experiment(client, number, tags)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise _unusable(uri, error) from None
    return Store(uri, client, number, pending)


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
    reason = message_of(error)
    reason = reason if len(reason) < 300 else f"{reason[:300]}..."
    found = f"The MLflow store {without_password(uri)} cannot be used: {reason}\n"
    if uri.startswith("sqlite"):
        return RhobetaError(
            f"{found}Close other programs that hold it, install the MLflow that made it, or move"
            " the file away: the next training makes a new one."
        )
    kind = StoreUnavailableError if is_unavailable(error) else RhobetaError
    return kind(f"{found}Start the server, or unset MLFLOW_TRACKING_URI to record into mlruns/.")
