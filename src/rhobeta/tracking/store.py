"""The MLflow store: where it is, that it can be written, and its client."""

import logging
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.away import is_away
from rhobeta.tracking.database import prepare_database, require_known_version
from rhobeta.tracking.environment import environment_kept
from rhobeta.tracking.view import VIEW_TAG, experiment_tags_of_view

if TYPE_CHECKING:
    from mlflow import MlflowClient

_SERVER_SECONDS = 10
_SQLITE = "sqlite:///"

CURRENT = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID")
"""Variables that MLflow sets for itself when a store or an experiment becomes the current one."""

# What holds a secret, by the names of environment variables and of an address's parameters.
_NAMES_OF_SECRETS = r"PASSW|PASSPHRASE|[_?&;]PWD|SECRET|TOKEN|CREDENTIAL|(?:ACCESS|API)_?KEY"
_SHORTEST_SECRET = 6


class StoreAwayError(RhobetaError):
    """The store is a server, and does not answer."""


@dataclass(frozen=True)
class Store:
    """An MLflow store that has answered, and the experiment that runs go into."""

    uri: str
    client: "MlflowClient"
    experiment_id: str
    outbox: Path | None = None
    """Where what cannot be logged waits, should the server go away; None for a file."""
    away: bool = False
    """Whether it has not answered, and only what waits for it can be added to."""


def store_uri(paths: Paths) -> str:
    """`MLFLOW_TRACKING_URI` where it is set, else sqlite below the store root.

    A relative file of sqlite (`sqlite:///mlflow.db`) is one below the store root: an experiment in
    a temporary workspace, which is deleted afterwards, means the same file.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or _uri_of(paths.store / "mlflow.db")
    return _uri_of(paths.store_root / uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else uri


def _uri_of(database: Path) -> str:
    return f"{_SQLITE}{database}"


def open_store(paths: Paths, experiment: str) -> Store:
    """Reach the store, make the experiment if it is new, and return both.

    Several processes may do so at once. Raises `RhobetaError` where the store cannot be reached
    or written: stages open it first, before they spend work.
    """
    uri = _prepared_uri(paths)
    if _is_server(uri):
        return _open(uri, experiment, artifacts=None, outbox=_outbox_of(uri, paths))

    from filelock import FileLock

    _require_writable(paths.store)
    artifacts = paths.store / "artifacts"
    # Two processes that create the same database at once fail; so only one at a time looks.
    with FileLock(paths.store / ".lock"):
        if uri == _uri_of(database := paths.store / "mlflow.db"):
            prepare_database(database, artifacts)
        return _open(uri, experiment, artifacts, _outbox_of(uri, paths))


def store_that_is_away(paths: Paths, experiment_id: str) -> Store:
    """The store, which has not answered, with the experiment of a run that waits for it."""
    import mlflow
    from mlflow import MlflowClient

    uri = _prepared_uri(paths)
    mlflow.set_tracking_uri(uri)
    return Store(uri, MlflowClient(uri), experiment_id, paths.store / "outbox", away=True)


def _prepared_uri(paths: Paths) -> str:
    uri = store_uri(paths)
    _quieten()
    if not _is_server(uri):
        return uri
    # A server that does not answer should cost seconds, not MLflow's default of minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(_SERVER_SECONDS))
    return _hand_over_credentials(uri)


def open_store_to_read(paths: Paths) -> Store:
    """Reach a store that there is already, and change nothing in it.

    Its `experiment_id` is empty. Raises `RhobetaError` where there is no store, or it does not
    answer.
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
    """As `open_store_to_read`, but None where there is no store."""
    uri = _prepared_uri(paths)
    if uri.startswith(_SQLITE):
        # MLflow would make a database where there is none.
        database = Path(uri.removeprefix(_SQLITE))
        if not (database.is_file() and database.stat().st_size):
            return None
        require_known_version(database)
    elif not (_is_server(uri) or _has_tables(uri)):
        return None
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RhobetaError(_unreachable(uri, error)) from None
    return Store(uri, client, "", _outbox_of(uri, paths))


def _has_tables(uri: str) -> bool:
    """Whether MLflow has made its tables in a database: it would make them at its first look."""
    from sqlalchemy import create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    try:
        engine = create_engine(uri)
        try:
            return inspect(engine).has_table("alembic_version")
        finally:
            engine.dispose()
    except (SQLAlchemyError, ImportError) as error:
        raise RhobetaError(_unreachable(uri, error)) from None


def _outbox_of(uri: str, paths: Paths) -> Path | None:
    return None if uri.startswith("sqlite") else paths.store / "outbox"


def _is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def _open(uri: str, experiment: str, artifacts: Path | None, outbox: Path | None) -> Store:
    import mlflow
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        known = client.get_experiment_by_name(experiment)
        if known is not None and known.lifecycle_stage == "deleted":
            client.restore_experiment(known.experiment_id)
        location = None if artifacts is None else artifacts.as_uri()
        number = (
            known.experiment_id
            if known is not None
            else client.create_experiment(experiment, location)
        )
        _describe(client, number, {} if known is None else known.tags)
        with environment_kept(CURRENT):
            # MLflow packages models into the store and the experiment that are current.
            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment(experiment_id=number)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        fault = StoreAwayError if outbox is not None and is_away(error) else RhobetaError
        raise fault(_unreachable(uri, error)) from None
    return Store(uri, client, number, outbox)


def _describe(client: "MlflowClient", number: str, tags: Mapping[str, str]) -> None:
    for tag, value in experiment_tags_of_view(number).items():
        # The user may have written another description; the view is the program's.
        if tag not in tags or (tag == VIEW_TAG and tags[tag] != value):
            client.set_experiment_tag(number, tag, value)


def _hand_over_credentials(uri: str) -> str:
    """`uri` without user name and password, which MLflow finds in the environment from now on.

    MLflow prints the address, and quotes it in errors and their tracebacks.
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


def _require_writable(folder: Path) -> None:
    if {"?", "%"} & set(str(folder)):
        raise RhobetaError(
            f"The run cannot be recorded in {folder}: the address of a database cannot hold ? or"
            " %.\nRename the folder, or point MLFLOW_TRACKING_URI at another store."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-test-{os.getpid()}"
        probe.touch()
        probe.unlink()
        database = folder / "mlflow.db"
        if database.exists():
            with database.open("ab"):
                pass
    except OSError as error:
        raise RhobetaError(
            f"The run cannot be recorded: {folder} is not writable ({error.strerror}).\n"
            f"Make it writable (chmod -R u+w {folder}), free disk space, or point"
            " MLFLOW_TRACKING_URI at another store."
        ) from None


def _unreachable(uri: str, error: Exception) -> str:
    reason = without_password(" ".join(str(error).partition("[SQL:")[0].split()))
    reason = reason if len(reason) < 300 else f"{reason[:300]}..."
    place = without_password(uri)
    if uri.startswith("sqlite"):
        advice = (
            "Close other programs that hold it and try again; or move the file away: a new one is"
            " made, and `rhobeta train` records into it."
        )
    else:
        advice = "Start the server, or unset MLFLOW_TRACKING_URI to record into mlruns/."
    return f"The MLflow store {place} cannot be used: {reason}\n{advice}"


def without_password(text: str) -> str:
    """`text`, which may hold addresses, without what must not be shown; fit for a message or a tag.

    Left out are user names and passwords of addresses, their parameters that are named like a
    secret, and every value of six or more characters that the environment has under such a name,
    or as the password in `MLFLOW_TRACKING_URI`.
    """
    for secret in sorted(_secrets_of_the_environment(), key=len, reverse=True):
        text = text.replace(secret, "***")
    # A password that is not encoded may hold @ and /.
    text = re.sub(r"//(?:[^/\s:]*:\S*|[^/\s]*)@", "//", text)
    return re.sub(
        rf"(?i)((?=[?&;])[^=\s]*(?:{_NAMES_OF_SECRETS})[^=&;\s]*=)[^&;\s'\"]*", r"\1***", text
    )


def _secrets_of_the_environment() -> set[str]:
    found = {
        value for name, value in os.environ.items() if re.search(f"(?i){_NAMES_OF_SECRETS}", name)
    }
    given = re.search(r"//[^/:]*:(.*)@", os.environ.get("MLFLOW_TRACKING_URI", ""))
    if given is not None:
        # Whoever reads an address that is not encoded cuts its password at these signs.
        found |= {given[1], unquote(given[1]), *re.split("[@/:?#]", given[1])}
    return {secret for secret in found if len(secret) >= _SHORTEST_SECRET}


def _quieten() -> None:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # MLflow would print the address of every run; `rhobeta summary` tells where a run is.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # Read when mlflow is imported. Migrations and hints are no news to who trains a model, and
    # errors are raised as well: the command explains them without MLflow's traceback.
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "CRITICAL")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"mlflow\..*")
