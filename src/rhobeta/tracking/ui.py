"""MLflow's UI on the loopback address, with its default protections."""

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
_SETTINGS_OF_OTHER_SERVERS = (
    "MLFLOW_GUNICORN_OPTS",
    "MLFLOW_SERVER_ALLOWED_HOSTS",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "MLFLOW_UVICORN_OPTS",
)


def serve_ui(paths: Paths, experiment: str, port: int) -> None:
    """Serve MLflow's UI on the project's store until it is interrupted.

    It answers this machine alone, with MLflow's checks of host and origin on, whatever the
    environment says. Raises `RhobetaError` if the port is taken, the store is a server with a UI of
    its own, or the UI fails.
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
    environment = {k: v for k, v in os.environ.items() if k not in _SETTINGS_OF_OTHER_SERVERS}
    # Not as an argument: every user of the machine can read those, and it may hold a password.
    environment["MLFLOW_BACKEND_STORE_URI"] = uri
    # Eight processes for evaluations of language models, which are not needed here.
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    server = subprocess.Popen(command, env=environment)
    try:
        status = server.wait()
    finally:
        # MLflow passes SIGTERM on to its own processes.
        server.terminate()
        server.wait()
    if status:
        raise RhobetaError(f"MLflow's UI ended with status {status}; its messages are above.")
