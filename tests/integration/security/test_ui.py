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

import psutil
import pytest
from mlflow import MlflowClient

from rhobeta.paths import Paths


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(
    port: int, path: str, method: str = "GET", body: str = "", **headers: str
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        given = {"Content-Type": "application/json"} | headers
        connection.request(method, path, body, headers=given)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


def status(port: int, path: str, method: str = "GET", body: str = "", **headers: str) -> int:
    return ask(port, path, method, body, **headers).status


@pytest.fixture
def ui(paths: Paths) -> Iterator[tuple[int, psutil.Process]]:
    """The port and the process of a UI that was started where others are opened to the world."""
    port = free_port()
    # As a stranger's file among downloaded images.
    for name in ("mlflow", "uvicorn", "fastapi"):
        (paths.workspace / f"{name}.py").write_text("open('it-ran', 'w').close()\n")
    environment = os.environ | {
        "MLFLOW_SERVER_X_FRAME_OPTIONS": "NONE",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "true",
        "MLFLOW_STATIC_PREFIX": "/elsewhere",
        "UVICORN_UDS": str(paths.workspace / "socket"),
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
    # The last few match patterns that MLflow allows by default: names for DNS rebinding.
    for host in (
        "evil.example",
        f"evil.example:{port}",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        f"127.0.0.1:{port}.evil.example",
        f"10.evil.example:{port}",
        "192.168.evil.example",
        "172.16.evil.example",
        "fc00:evil.example",
        "localhost:evil.example",
    ):
        assert status(port, search, Host=host) == 403, host
    query = '{"query": "{mlflowGetExperiment(input: {experimentId: \\"1\\"}) {__typename}}"}'
    assert status(port, "/graphql", "POST", query) == 200
    assert status(port, "/graphql", "POST", query, Host=f"10.evil.example:{port}") == 403
    assert ask(port, "/").headers["X-Frame-Options"] == "SAMEORIGIN"

    # The files of runs are shown, and nothing can be written beside them.
    store = MlflowClient(f"sqlite:///{paths.workspace}/other.db")
    run = store.create_run(store.get_experiment_by_name("rhobeta").experiment_id)
    store.log_text(run.info.run_id, "shown", "it.txt")
    artifact = f"/get-artifact?path=it.txt&run_uuid={run.info.run_id}"
    assert status(port, artifact) == 200
    assert status(port, artifact, Host=f"10.evil.example:{port}") == 403
    proxied = "/api/2.0/mlflow-artifacts/artifacts/planted"
    assert status(port, proxied, "PUT", "text") >= 400
    assert not any(p.name in ("planted", "it-ran") for p in paths.workspace.rglob("*"))
    create = "/api/2.0/mlflow/experiments/create"
    assert status(port, create, "POST", Origin="https://evil.example.com") == 403

    # The address of a store may hold a password: it is in no command line.
    for member in family:
        with suppress(psutil.NoSuchProcess):
            command = " ".join(member.cmdline())
            assert "other.db" not in command
            assert "huey" not in command
    assert (paths.workspace / "other.db").exists()
