"""The command itself."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import REPOSITORY
from rhobeta.cli import main
from rhobeta.config.params import Params

HEAVY = ("torch", "pytorch_lightning", "mlflow", "sklearn", "matplotlib", "optuna", "pydantic")


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom rhobeta.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for stage in ("download", "preprocess", "train", "evaluate", "visualize"):
        assert stage in done.stdout


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "--fast"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: rhobeta" in capsys.readouterr().err


def test_params_prints_every_value_and_the_schema(workspace: Path, capsys) -> None:
    assert main(["params"]) == 0
    printed = capsys.readouterr().out
    assert "penalty.rho: 0.2\n" in printed
    assert "data.name: own\n" in printed
    assert main(["params", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == Params.model_json_schema()


def test_a_wrong_parameter_is_refused_by_the_command(workspace: Path, rhobeta) -> None:
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("rho: 0.2", "rho: banana"))
    done = rhobeta("train")
    assert done.returncode == 1
    assert "penalty.rho: found 'banana' (text), allowed: a valid number. Target mean" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_clone_is_run_by_its_own_code(tmp_path: Path) -> None:
    """Two clones may share an environment; each must be made by the code that DVC hashes there."""
    clone = tmp_path / "clone"
    shutil.copytree(REPOSITORY / "src" / "rhobeta", clone / "src" / "rhobeta")
    shutil.copy(REPOSITORY / "dvc.yaml", clone)
    package = clone / "src" / "rhobeta" / "__init__.py"
    package.write_text('__version__ = "of the clone"\n')
    (clone / "deeper").mkdir()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for folder in (clone, clone / "deeper"):
        done = subprocess.run(
            ["rhobeta", "--version"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "rhobeta of the clone"


def test_a_port_in_use_is_explained(workspace: Path, capsys) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 1
    assert f"Port {port} cannot be used" in capsys.readouterr().err


def test_a_server_that_is_lost_in_the_work_is_a_message(
    workspace: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection's errors are OSErrors, but not of a file."""
    import requests

    def lost(*_: object) -> None:
        raise requests.ConnectionError("Connection reset by http://user:geheim-99@host")

    monkeypatch.setattr("rhobeta.pipeline.download.run", lost)
    assert main(["download"]) == 1
    error = capsys.readouterr().err
    assert "the MLflow store failed in the middle of the work" in error
    assert "geheim-99" not in error


def test_output_that_nobody_reads_any_more_is_no_fault(workspace: Path) -> None:
    command = "set -o pipefail; rhobeta params --schema | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=workspace, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (141, "")
