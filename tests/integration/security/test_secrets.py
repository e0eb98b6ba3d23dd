"""Secrets of the environment reach no output, no file and no run."""

import base64
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from helpers import QUICK, StartAfter, git, write_params
from helpers.servers import mlflow_server
from rhobeta.cli import main
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.redaction import without_password
from rhobeta.tracking.run import new_run
from rhobeta.tracking.store import open_store

PASSWORD = "p@ss/w0rd:5f1c#?"
ENVIRONMENT = {
    "MLFLOW_TRACKING_USERNAME": "someone",
    "MLFLOW_TRACKING_PASSWORD": "env-password-81aa",
    "MLFLOW_TRACKING_TOKEN": "env-token-92bb",
    "AWS_ACCESS_KEY_ID": "AKIAENV03CC",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-14dd",
    "AWS_SESSION_TOKEN": "aws-session-25ee",
    "SOME_API_KEY": "api-key-36ff",
}
IN_REMOTE = "git-token-47aa"
SECRETS = {
    PASSWORD,
    quote(PASSWORD, safe=""),
    IN_REMOTE,
    *(value for name, value in ENVIRONMENT.items() if name != "MLFLOW_TRACKING_USERNAME"),
}
MARKS = [mark for s in SECRETS for mark in (s.encode(), base64.b64encode(s.encode())[:-4])]
MARKS += [base64.b64encode(f"me:{PASSWORD}".encode())]


def leaks(*places: Path | str | bytes) -> list[str]:
    """Where a secret stands: in which texts, or in which files below which folders."""
    found = []
    for place in places:
        if isinstance(place, Path):
            contents = [(p, p.read_bytes()) for p in place.rglob("*") if p.is_file()]
            contents += [(p, str(p).encode()) for p in place.rglob("*")]
        else:
            text = place.encode() if isinstance(place, str) else place
            contents = [(text[:60], text)]
        found += [
            f"{mark!r} in {where}" for where, text in contents for mark in MARKS if mark in text
        ]
    return found


def test_leaks_are_found(tmp_path: Path) -> None:
    assert leaks("nothing", tmp_path) == []
    (tmp_path / "x").write_text("before env-token-92bb after")
    assert len(leaks("see aws-secret-14dd", tmp_path)) == 2


class Tracking(http.server.BaseHTTPRequestHandler):
    """As much of a tracking server as opening a store takes; whatever comes later fails."""

    broken: bool
    bodies: list[bytes]
    credentials: set[str]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        type(self).bodies.append(self.path.encode() + b" " + body)
        # MLflow's health check needs no credentials and gets none.
        if self.path != "/health":
            type(self).credentials.add(self.headers.get("Authorization", ""))
        experiment = {"experiment_id": "1", "name": "rhobeta", "lifecycle_stage": "active"}
        run = {"info": {"run_id": "0" * 32, "experiment_id": "1", "status": "RUNNING"}, "data": {}}
        answers = {
            "experiments/get-by-name": {"experiment": experiment},
            "experiments/get": {"experiment": experiment},
            "experiments/set-experiment-tag": {},
            "runs/create": {"run": run},
            "runs/get": {"run": run},
        }
        name = urlsplit(self.path).path.partition("/mlflow/")[2]
        known = not self.broken and name in answers
        content = json.dumps(answers[name] if known else {"error_code": "INTERNAL_ERROR"}).encode()
        self.send_response(200 if known else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_PUT = _answer  # noqa: N815

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(params=[True, False], ids=["refuses", "fails later"])
def tracking(request: pytest.FixtureRequest) -> Iterator[tuple[int, type[Tracking]]]:
    handler = type("H", (Tracking,), {"broken": request.param, "bodies": [], "credentials": set()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port, handler
        server.shutdown()
        thread.join()


def address(port: int) -> str:
    return f"http://me:{quote(PASSWORD, safe='')}@127.0.0.1:{port}"


def run_stage(stage: str, folder: Path, home: Path, uri: str) -> "subprocess.CompletedProcess[str]":
    home.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", "rhobeta", stage],
        cwd=folder,
        env=os.environ
        | ENVIRONMENT
        | {"MLFLOW_TRACKING_URI": uri, "HOME": str(home), "TMPDIR": str(home)}
        | {"NO_PROXY": "127.0.0.1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def project(paths: Paths, start_after: StartAfter) -> Path:
    """A project with splits and with a token in the address of git's remote."""
    start_after("preprocess")
    git(paths.workspace, "remote", "add", "origin", f"https://me:{IN_REMOTE}@127.0.0.1/x.git")
    # Uncommitted, so that the difference is logged.
    write_params(paths.workspace, QUICK | {"training.epochs": 1})
    return paths.workspace


def without_git(folder: Path) -> list[str]:
    """Leaks in the project, but for git's own file, where the token was put."""
    return [leak for leak in leaks(folder) if not leak.endswith("/.git/config")]


@pytest.mark.slow
def test_credentials_go_to_the_server_alone(
    project: Path, tmp_path: Path, tracking: tuple[int, type[Tracking]]
) -> None:
    port, handler = tracking
    done = run_stage("train", project, tmp_path / "home", address(port))
    if handler.broken:
        assert done.returncode == 1
        assert "rhobeta train: " in done.stderr
        assert f"127.0.0.1:{port}" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert f"http://127.0.0.1:{port} does not answer" in done.stdout
        assert any((project / "mlruns" / "pending").rglob("run.json"))
    assert leaks(done.stdout, done.stderr, tmp_path / "home", *handler.bodies) == []
    assert without_git(project) == []
    expected = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert handler.credentials == {f"Basic {expected}"}
    assert len(handler.bodies) > (0 if handler.broken else 3)


@pytest.mark.slow
def test_server_that_works_keeps_no_secret(
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    kept = tmp_path / "server"
    server = mlflow_server(kept)
    port = urlsplit(server.address).port
    assert port is not None
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address(port))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    write_params(project, QUICK | {"training.epochs": 1, "evaluate.tasks": []})
    try:
        server.start()
        server.wait()
        for stage in ("train", "evaluate", "visualize", "summary"):
            assert main([stage]) == 0, capfd.readouterr()
    finally:
        server.kill()
    # With the server gone, whatever is said of it says no more.
    assert main(["evaluate"]) == 1
    said = capfd.readouterr()
    assert f"127.0.0.1:{port}" in said.err
    assert leaks(said.out, said.err, kept) == []
    assert without_git(project) == []
    database = (kept / "runs.db").read_bytes()
    assert b"test/mse" in database
    assert b"mlflow.source.git.commit" in database
    assert any((kept / "artifacts").rglob("uncommitted.diff"))
    # The folder held the state of the training while it ran.
    assert not any(path.is_file() for path in (project / "mlruns").rglob("*"))


def test_error_is_noted_in_its_run_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(Paths(tmp_path, tmp_path), "tests")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    text = f"no answer from {address(5000)} with env-token-92bb"
    with (
        pytest.raises(RhobetaError, match="env-token"),
        new_run(store, name="it", tags={}) as run,
    ):
        raise RhobetaError(text)
    noted = store.client.get_run(run.run_id).data.tags["rhobeta.error"]
    assert noted == "RhobetaError: no answer from http://127.0.0.1:5000 with ***"
    assert leaks(tmp_path / "mlruns") == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:s@cret/x@host:1/y", "http://host:1/y"),
        ("https://token@host/y is gone", "https://host/y is gone"),
        (
            "postgresql://h/db?user=me&password=hunter2&x=1",
            "postgresql://h/db?user=me&password=***&x=1",
        ),
        ("mssql://h/db?PWD=hunter2;x=1", "mssql://h/db?PWD=***;x=1"),
        ("s3://b/k?X-Amz-Security-Token=abc", "s3://b/k?X-Amz-Security-Token=***"),
        ("host:1/a b@c //x", "host:1/a b@c //x"),
        ("the key api-key-36ff, and a short one: abc", "the key ***, and a short one: abc"),
        ("could not translate w0rd-half to", "could not translate *** to"),
        (f"in {Path.cwd()}", f"in {Path.cwd()}"),
    ],
)
def test_shown_text_is_without_secrets(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:p@ss/w0rd-half@host")
    assert without_password(text) == shown


def test_address_without_credentials_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rhobeta.tracking.store import _hand_over_credentials

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert _hand_over_credentials("http://host:1/x") == "http://host:1/x"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "env-password-81aa"
    assert _hand_over_credentials("http://me:a%40b@host:1/x?y#z") == "http://host:1/x?y#z"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "a@b"
    assert _hand_over_credentials("http://token@host") == "http://host"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == ""
