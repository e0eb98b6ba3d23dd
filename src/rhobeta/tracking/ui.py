"""MLflow's UI on the loopback address, for browsers of this machine alone."""

import os
import socket
import subprocess
import sys

from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.store import is_server, open_store, store_uri
from rhobeta.tracking.view import view_link

_HOST = "127.0.0.1"

# What is set for servers that others may reach must not open this one.
_SETTINGS_OF_SERVERS = ("MLFLOW_", "UVICORN_")
# The stores' own settings, and those that `open_store` makes.
_KEPT = ("MLFLOW_S3_", "MLFLOW_SQLALCHEMYSTORE_", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_LOGGING_")


def serve_ui(paths: Paths, experiment: str, port: int) -> None:
    """Serve MLflow's UI on the project's store until it is interrupted.

    It answers this machine alone, under its own names, with MLflow's checks of host and origin on,
    whatever the environment says. Raises `RhobetaError` if the port is taken, the store is a server
    with a UI of its own, or the UI fails.
    """
    uri = store_uri(paths)
    if is_server(uri):
        raise RhobetaError(
            f"MLFLOW_TRACKING_URI names a server, which has a UI of its own: open"
            f" {without_password(uri)} in a browser."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except (OSError, OverflowError) as error:
            raise RhobetaError(
                f"Port {port} cannot be used ({error}).\nChoose another: make ui PORT=5001"
            ) from None
    store = open_store(paths, experiment)
    print(f"runs of {paths.workspace.name}: http://{_HOST}:{port}/{view_link(store.experiment_id)}")
    print("Ctrl-C ends it.", flush=True)
    command = [sys.executable, "-P", "-m", "mlflow", "server", "--host", _HOST, "--port", str(port)]
    command += ["--workers", "1", "--default-artifact-root", (paths.store / "artifacts").as_uri()]
    # No proxy for artifacts: through it, others could write into a folder of the server's.
    command.append("--no-serve-artifacts")
    # uvicorn imports from the current folder, which may hold a stranger's files.
    server = subprocess.Popen(command, env=_environment(uri, port), cwd=paths.store)
    try:
        status = server.wait()
    finally:
        # MLflow passes SIGTERM on to its own processes.
        server.terminate()
        server.wait()
    if status:
        raise RhobetaError(f"MLflow's UI ended with status {status}; its messages are above.")


def _environment(uri: str, port: int) -> dict[str, str]:
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if name.startswith(_KEPT) or not name.startswith(_SETTINGS_OF_SERVERS)
        },
        # Not as an argument: every user of the machine can read those, and it may hold a password.
        "MLFLOW_BACKEND_STORE_URI": uri,
        # MLflow's own patterns, such as 10.*, match names that a stranger can register.
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"localhost,{_HOST},localhost:{port},{_HOST}:{port}",
        # Eight processes for evaluations of language models, which are not needed here.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
