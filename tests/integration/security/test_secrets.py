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
from rhobeta.cli import main
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.tracking.redaction import remember_address, without_password
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
        experiment = {
            "experiment_id": "1",
            "name": "rhobeta",
            "lifecycle_stage": "active",
            "artifact_location": "mlflow-artifacts:/1",
        }
        info = {"run_id": "0" * 32, "experiment_id": "1", "status": "RUNNING"}
        run = {"info": info | {"artifact_uri": "mlflow-artifacts:/1/0"}, "data": {}}
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


P = "hunter2-8f31"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:s@cret/x@host:1/y", "http://host:1/y"),
        ("https://token@host/y is gone", "https://host/y is gone"),
        (f"postgresql://me:{P}@[::1]:5432/db", "postgresql://[::1]:5432/db"),
        (f"MYSQL://:{P}@h/db", "MYSQL://h/db"),
        (f"storage: postgresql://me:a {P} b/c@h/db\n  ^", "storage: postgresql://h/db\n  ^"),
        (f"found 'postgresql://me:a {P}@h' (text)", "found 'postgresql://h' (text)"),
        (f"two a://u:{P}@h b://u:{P}@h", "two a://h b://h"),
        (f"'me:{P}@h/db'", "'***@h/db'"),
        (f"postgresql:/me:{P}@h/db", "postgresql:/***@h/db"),
        (
            f"postgresql://h/db?user=me&password={P}&x=1",
            "postgresql://h/db?user=me&password=***&x=1",
        ),
        (f"mssql://h/db?PWD={P};x=1", "mssql://h/db?PWD=***;x=1"),
        (
            f"?odbc_connect=UID%3Dme%3BPWD%3D{P}%3BX%3D1",
            "?odbc_connect=UID%3Dme%3BPWD%3D***%3BX%3D1",
        ),
        (f"s3://b/k?X-Amz-Security-Token={P}", "s3://b/k?X-Amz-Security-Token=***"),
        (f"https://h/b?sv=1&sig={P}&x=1", "https://h/b?sv=1&sig=***&x=1"),
        (f"s3://b/k?X-Amz-Signature={P}", "s3://b/k?X-Amz-Signature=***"),
        (f"AccountKey={P};x=1", "AccountKey=***;x=1"),
        (f"DB_PASS={P} DB_PW={P}", "DB_PASS=*** DB_PW=***"),
        (f"x-api-key: {P}", "x-api-key: ***"),
        (f"postgresql://me:{P}", "postgresql://me:***"),
        (f"host=h password={P} user=me", "host=h password=*** user=me"),
        (f"{{'password': '{P}', 'x': 1}}", "{'password': ***, 'x': 1}"),
        (f'"sslpassword": "{P}"', '"sslpassword": ***'),
        (f"'Authorization': 'Basic {P}'", "'Authorization': 'Basic ***'"),
        ("the key api-key-36ff, and a short one: abc", "the key ***, and a short one: abc"),
        ("could not translate w0rd-half to", "could not translate *** to"),
        ("no host d@ta-p4ss, nor d%40ta-p4ss", "no host ***, nor ***"),
        ("no host st0re-p4ss", "no host ***"),
        ("no port 'm1ssing-host'", "no port '***'"),
    ],
)
def test_shown_text_is_without_secrets(
    monkeypatch: pytest.MonkeyPatch, text: str, shown: str
) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHORT_TOKEN", "abc")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:p@ss/w0rd-half@host")
    monkeypatch.setenv("DATABASE_URL", "postgresql://me:d%40ta-p4ss@host/db")
    remember_address("postgresql://me:st0re-p4ss@host/db")
    remember_address("postgresql://me:m1ssing-host")
    assert without_password(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://USER:PASSWORD@HOST:5432/DATABASE",
        "http://127.0.0.1:5000 does not answer; write to me@example.org/x",
        "sqlite:////home/me@here/mlflow.db",
        "models:/rhobeta@champion",
        "http://HOST:PORT, http://[::1]:5000/x and file:///C:/x",
        "bypass: yes, compass=5, passes: 3, signal=2, pw: 3",
        "git@github.com:a/b.git",
        '{"a":"b@c", "test/l0@0.1": 3}',
        'password authentication failed for user "me"',
        "postgresql, of the password postgres",
        f"in {Path.cwd()}",
    ],
)
def test_text_without_secrets_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("PASSWORD_STORE_DIR", str(Path.cwd()))
    monkeypatch.setenv("DATABASE_URL", "sqlite:///x.db")
    assert without_password(text) == text


@pytest.mark.parametrize(
    ("settings", "arguments"),
    [
        ({"tune.storage": f"postgresql://me:{P}/@x@127.0.0.1:1/db"}, ["params"]),
        ({"tune.storage": f"nonsense://me:{P}@127.0.0.1:1/db"}, ["tune", "show"]),
        ({"tune.storage": f"mysql://me:{P}@127.0.0.1:1/db"}, ["tune", "show"]),
        ({"tune.storage": [f"postgresql://me:{P}@h/db"]}, ["params"]),
        ({"tune.study": f"\tpostgresql://me:{P}@h/db"}, ["params"]),
    ],
)
def test_address_of_studies_is_shown_without_its_password(
    workspace: Path,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, object],
    arguments: list[str],
) -> None:
    write_params(workspace, QUICK | settings)
    main(arguments)
    shown = capsys.readouterr()
    assert "127.0.0.1:1/db" in shown.out + shown.err or "refused" in shown.err
    assert P not in shown.out + shown.err


def test_yaml_error_and_traceback_show_no_password(workspace: Path) -> None:
    address = f"postgresql://me:{P}@h/db"
    (workspace / "extensions" / "mine.py").write_text(f"raise LookupError('{address}')\n")
    environment = os.environ | {"RHOBETA_TUNE_STORAGE": address}
    for told in ("LookupError", "not valid YAML"):
        done = subprocess.run(
            [sys.executable, "-m", "rhobeta", "params"],
            cwd=workspace,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, told in done.stderr) == (1, True), done.stderr
        assert P not in done.stdout + done.stderr
        (workspace / "extensions" / "mine.py").unlink(missing_ok=True)
        (workspace / "params.yaml").write_text(f"tune: {{storage: {address}, : [")


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
