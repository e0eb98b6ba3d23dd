"""The real `rhobeta ui`: reached from this machine alone, with MLflow's protections on."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from rhobeta.paths import Paths


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def status(port: int, path: str, method: str = "GET", **headers: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(
            method, path, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture
def ui(paths: Paths) -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of a UI that was started where others are opened to the world."""
    port = free_port()
    environment = os.environ | {
        "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "true",
        "MLFLOW_SERVER_ALLOWED_HOSTS": "*",
        "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "*",
        "MLFLOW_UVICORN_OPTS": "--host 0.0.0.0",
        "MLFLOW_HOST": "0.0.0.0",
        "MLFLOW_TRACKING_URI": f"sqlite:///{paths.workspace}/other.db",
        "NO_PROXY": "127.0.0.1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "rhobeta", "ui", "--port", str(port)],
        cwd=paths.workspace,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 150
        while True:
            assert process.poll() is None, process.stderr
            assert time.monotonic() < end, "the server did not answer"
            try:
                if status(port, "/health") == 200:
                    break
            except OSError:
                time.sleep(0.3)
        yield port, psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)


@pytest.mark.slow
def test_ui_answers_this_machine_alone_and_is_protected(
    ui: tuple[int, psutil.Process], paths: Paths
) -> None:
    port, process = ui
    family = [process, *process.children(recursive=True)]
    listening = set()
    for member in family:
        # One may have ended since.
        with suppress(psutil.NoSuchProcess):
            found = member.net_connections("inet")
            listening |= {c.laddr for c in found if c.status == psutil.CONN_LISTEN}
    assert listening == {("127.0.0.1", port)}

    search = "/api/2.0/mlflow/experiments/search?max_results=5"
    assert status(port, search) == 200
    assert status(port, search, Host=f"localhost:{port}") == 200
    for host in ("evil.example.com", f"evil.example.com:{port}", "127.0.0.1.evil.example.com"):
        assert status(port, search, Host=host) == 403
    create = "/api/2.0/mlflow/experiments/create"
    assert status(port, create, "POST", Origin="https://evil.example.com") == 403

    # The address of a store may hold a password: it is in no command line.
    for member in family:
        with suppress(psutil.NoSuchProcess):
            assert "other.db" not in " ".join(member.cmdline())
    assert (paths.workspace / "other.db").exists()


def test_settings_of_other_servers_are_those_of_mlflow() -> None:
    """What is taken out of the environment is what MLflow reads."""
    from mlflow import environment_variables

    from rhobeta.tracking.ui import _SETTINGS_OF_OTHER_SERVERS

    for name in ("ALLOWED_HOSTS", "DISABLE_SECURITY_MIDDLEWARE", "CORS_ALLOWED_ORIGINS"):
        assert f"MLFLOW_SERVER_{name}" in _SETTINGS_OF_OTHER_SERVERS
        assert hasattr(environment_variables, f"MLFLOW_SERVER_{name}")
    assert Path(environment_variables.__file__).is_file()
