"""A real PostgreSQL server on the loopback address, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from helpers.debian import install

USER, PASSWORD, DATABASE = "searcher", "s3cr3t-word", "studies"

# Debian keeps it where only the administrator's PATH leads.
_RUNUSER = shutil.which("runuser", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") or "runuser"


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Start a server with a database, installing Debian's where there is none; its URL.

    Skips, and says why, where there is no server and none can be installed.
    """
    binaries = _binaries()
    as_server = [] if os.geteuid() else [_RUNUSER, "-u", "postgres", "--"]
    # A socket's path is short: pytest's own folders are too deep for one.
    with tempfile.TemporaryDirectory(prefix="pg") as place:
        folder = Path(place)
        (folder / "password").write_text(PASSWORD)
        if as_server:
            shutil.chown(folder, "postgres")
            shutil.chown(folder / "password", "postgres")
        run = _Runner(as_server, folder)
        data, port = folder / "data", _free_port()
        run(
            binaries / "initdb", "--pgdata", data, "--username", USER, "--auth", "scram-sha-256",
            "--pwfile", folder / "password", "--no-sync", "--encoding", "UTF8",
        )  # fmt: skip
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        control = (binaries / "pg_ctl", "--pgdata", data, "--wait")
        run(*control, "--options", options, "--log", folder / "log", "start")
        try:
            address = f"{USER}:{PASSWORD}@127.0.0.1:{port}"
            _create_database(f"postgresql://{address}/postgres")
            yield f"postgresql://{address}/{DATABASE}"
        finally:
            run(*control, "--mode", "immediate", "stop")


class _Runner:
    def __init__(self, prefix: list[str], folder: Path) -> None:
        self._prefix, self._folder = prefix, folder

    def __call__(self, *command: object) -> None:
        words = [*self._prefix, *map(str, command)]
        # A server that inherits a pipe would keep it open.
        with (self._folder.parent / f"{self._folder.name}.out").open("w+") as output:
            done = subprocess.run(
                words, cwd="/", stdout=output, stderr=subprocess.STDOUT, check=False, timeout=120
            )
            output.seek(0)
            said = output.read()
        Path(output.name).unlink()
        assert done.returncode == 0, f"{words}\n{said}"


def _create_database(url: str) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")


def _binaries() -> Path:
    found = _installed()
    if found is None:
        install("postgresql")
        found = _installed()
    if found is None:
        pytest.skip(
            "NOT TESTED: no PostgreSQL server here, and none could be installed. Install one"
            " (Debian: apt-get install postgresql) and run this test again."
        )
    return found


def _installed() -> Path | None:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = shutil.which("initdb") or (debian[-1] if debian else None)
    return None if found is None else Path(found).resolve().parent


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
