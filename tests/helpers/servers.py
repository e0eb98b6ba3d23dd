"""Real servers on the loopback address, for as long as a test needs them."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process in a group of its own, which can be killed and started again."""

    def __init__(
        self, command: Sequence[str], address: str, log: Path, environment: Mapping[str, str]
    ) -> None:
        self.address = address
        self._command, self._log, self._environment = command, log, environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def wait(self, seconds: float = 240) -> None:
        """Until it answers, whatever the answer."""
        end = time.monotonic() + seconds
        while not self.answers():
            assert self._process is not None
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.1)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._process = None


def mlflow_server(
    folder: Path,
    *,
    backend: str | None = None,
    artifacts: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """A tracking server with its files below `folder`, not yet started."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(port), "--artifacts-destination", artifacts or f"{folder}/artifacts"]
    told = {
        # Eight more processes, for evaluations of language models.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": backend or f"sqlite:///{folder}/runs.db",
        **(environment or {}),
    }
    return Server(command, f"http://127.0.0.1:{port}", folder / "log", told)
