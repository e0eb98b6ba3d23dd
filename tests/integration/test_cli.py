"""The `rhobeta` command: which code it runs, its exit status, and what it says of an error."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy.exc

from helpers import REPOSITORY
from rhobeta import __version__
from rhobeta.cli import main
from rhobeta.cli.command import make_parser
from rhobeta.cli.explain import explain
from rhobeta.config.params import Params
from rhobeta.errors import RhobetaError

HEAVY = ("torch", "pytorch_lightning", "mlflow", "sklearn", "matplotlib", "optuna", "pydantic")


def test_version_is_that_of_the_installed_package() -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert f'\nversion = "{__version__}"\n' in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom rhobeta.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for command in ("download", "train", "run", "compare", "tune", "register", "doctor", "ui"):
        assert f"\n  {command} " in done.stdout


def test_help_fits_80_columns_and_its_examples_are_understood(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = make_parser()
    summaries = re.findall(r"^  (\w+)  +\S", parser.format_help(), re.MULTILINE)
    assert len(summaries) == len(set(summaries)) > 15
    examples = []
    for command in summaries:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert "%%" not in text
        assert "mlflow" not in text
        assert max(map(len, text.splitlines())) <= 80
        examples += re.findall(r"^  (rhobeta .+)$", text, re.MULTILINE)
    assert max(map(len, parser.format_help().splitlines())) <= 80
    for example in examples:
        words = shlex.split(example, comments=True)
        if ">" in words:
            words = words[: words.index(">")]
        assert parser.parse_known_args(words[1:])[0].command == words[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_commands_and_options(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "visualize" in script
    assert "no-page" in script
    file = {"bash": "_shtab_compgen_files", "zsh": "_files", "fish": "__fish_complete_path"}[shell]
    assert file in script


def test_bash_completes_a_command_and_its_option(tmp_path: Path) -> None:
    asked = (
        "source /dev/stdin; COMP_WORDS=(rhobeta {words}); COMP_CWORD={last};"
        " _shtab_rhobeta; echo ${{COMPREPLY[@]}}"
    )
    script = subprocess.run(
        ["rhobeta", "completion", "bash"], capture_output=True, text=True, check=True
    ).stdout
    (tmp_path / "presets").mkdir()
    for name in ("base", "k-sparse"):
        (tmp_path / "presets" / f"{name}.yaml").touch()
    for words, expected in (
        ("vis", "visualize"),
        ("compare --no", "--no-page"),
        ("run --preset k", "k-sparse"),
        ("presets ''", "k-sparse"),
    ):
        command = asked.format(words=words, last=len(words.split()))
        done = subprocess.run(
            ["bash", "-c", command],
            input=script,
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        assert done.stdout.split() == [expected], done.stderr


@pytest.mark.parametrize(
    "arguments",
    [[], ["trian"], ["train", "--fast"], ["tune", "--trials", "x"], ["runs", "--limit", "0"]],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: rhobeta" in capsys.readouterr().err


@pytest.mark.usefixtures("workspace")
def test_params_prints_every_value_and_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["params"]) == 0
    printed = capsys.readouterr().out
    assert "penalty.rho: 0.2\n" in printed
    assert "data.name: own\n" in printed
    assert main(["params", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out) == Params.model_json_schema()


def test_schema_is_printed_outside_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["params", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Params"
    assert main(["params"]) == 1
    assert "is not inside an rhobeta project" in capsys.readouterr().err


def test_wrong_parameter_is_refused_before_any_work(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("rho: 0.2", "rho: banana"))
    assert main(["train"]) == 1
    assert (
        "rhobeta train: params.yaml is refused:\n"
        "  penalty.rho: found 'banana' (text), allowed: a valid number. Target mean activation"
    ) in capsys.readouterr().err


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A second workspace of another version, which uses this environment.

    Its command prints its version, and that of a process that it starts.
    """
    folder = tmp_path / "it's: a; $(clone)"
    shutil.copytree(REPOSITORY / "src" / "rhobeta", folder / "src" / "rhobeta")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(REPOSITORY / name, folder)
    package = folder / "src" / "rhobeta"
    (package / "__init__.py").write_text('__version__ = "of the clone"\n')
    (package / "cli" / "command.py").write_text(
        "import subprocess, sys\n"
        "from rhobeta import __version__\n"
        "def run_command(arguments):\n"
        "    print('version', __version__, flush=True)\n"
        "    if sys.argv[1] == 'outer':\n"
        "        subprocess.run([sys.executable, '-m', 'rhobeta', 'inner'], check=True)\n"
    )
    (folder / "deeper").mkdir()
    return folder


def run_beside_hostile_files(command: list[str], folder: Path) -> str:
    """What a command prints that is started beside files with the names of modules."""
    for name in ("argparse", "mlflow", "multiprocessing", "numpy", "sitecustomize", "subprocess"):
        (folder / f"{name}.py").write_text(f"print('imported {name}')\n")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("command", [["rhobeta"], [sys.executable, "-m", "rhobeta"]])
@pytest.mark.parametrize("below", [".", "deeper"])
def test_clone_and_its_processes_run_its_own_code(
    clone: Path, command: list[str], below: str
) -> None:
    printed = run_beside_hostile_files([*command, "outer"], clone / below)
    assert printed.splitlines() == ["version of the clone"] * 2


@pytest.mark.parametrize("option", ["--version", "--vers", "--help", "-h"])
def test_version_and_help_run_no_code_of_a_project(clone: Path, option: str) -> None:
    printed = run_beside_hostile_files(["rhobeta", option], clone)
    assert printed.startswith((f"rhobeta {__version__}\n", "usage: rhobeta"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_code_of_another_user_is_not_run(clone: Path) -> None:
    os.chown(clone / "dvc.yaml", 12345, 12345)
    done = subprocess.run(
        ["rhobeta", "params"], cwd=clone, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "belongs to another user (id 12345), whose code would run" in done.stderr


def test_port_in_use_is_explained(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 1
    assert f"Port {port} cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RhobetaError("what to do"), 1, "rhobeta download: what to do\n"),
        (KeyboardInterrupt(), 130, "\nrhobeta download: interrupted.\n"),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_error_is_a_status_and_a_message(
    error: BaseException,
    status: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("rhobeta.pipeline.download.run", fail)
    assert main(["download"]) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("workspace")
def test_signal_ends_the_command_with_its_number(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rhobeta.pipeline.download.run", lambda *_: signal.raise_signal(number))
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert main(["download"]) == 128 + number
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert capsys.readouterr().err == f"rhobeta download: ended by {number.name}.\n"


def test_error_of_the_store_hides_statement_and_password() -> None:
    import requests

    lost = requests.ConnectionError("Connection reset by http://user:geheim-99@host")
    message = explain(lost, "download")
    assert message is not None
    assert message.startswith("the MLflow store failed in the middle of the work: Connection reset")
    assert "geheim-99" not in message
    broken = sqlalchemy.exc.OperationalError("SELECT secret", {}, Exception("disk I/O error"))
    message = explain(broken, "tune")
    assert message is not None
    assert "MLflow store, or the studies' database, failed" in message
    assert "SELECT" not in message


def test_a_missing_package_of_the_pipeline_is_named() -> None:
    message = explain(ModuleNotFoundError("No module named 'mlflow'", name="mlflow"), "train")
    assert message is not None
    assert message.startswith("the package mlflow is not installed here")
    assert explain(ModuleNotFoundError("", name="rhobeta.gone"), "train") is None


def test_error_of_the_program_is_not_explained() -> None:
    assert explain(ValueError("a bug"), "train") is None
    assert explain(FileNotFoundError(2, "No such file", "x"), "train") is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "there is not enough memory"),
        (ImportError("libtorch_cpu.so: failed to map segment"), "there is not enough memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "there is not enough memory"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "x cannot be opened (Too many"),
        (FileExistsError(errno.EEXIST, "File exists", "x"), "x cannot be used (File exists)"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "x"), "x cannot be used (Not a"),
    ],
)
def test_limit_of_the_machine_is_explained(error: Exception, message: str) -> None:
    assert (explain(error, "train") or "").startswith(message)


def test_closed_output_is_status_141(workspace: Path) -> None:
    command = "set -o pipefail; rhobeta params --schema | true"
    done = subprocess.run(
        ["bash", "-c", command], cwd=workspace, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (141, "")


def test_command_in_a_notebook_draws_into_files(workspace: Path) -> None:
    """Jupyter names a backend of its own for all processes that a cell starts."""
    look = "from rhobeta.cli import main; status = main(); from matplotlib import pyplot"
    subprocess.run(
        [sys.executable, "-c", f"{look}; raise SystemExit(status)", "params"],
        cwd=workspace,
        env=os.environ | {"MPLBACKEND": "no such backend"},
        capture_output=True,
        check=True,
    )


def test_streams_that_are_closed_are_no_fault(workspace: Path) -> None:
    """The next file that is opened takes the number of a closed stream, and what is printed."""
    done = subprocess.run(["bash", "-c", "rhobeta params <&- >&- 2>&-"], cwd=workspace, check=False)
    assert done.returncode == 0


def test_no_control_character_and_no_byte_of_a_name_reaches_the_terminal(workspace: Path) -> None:
    name = b"\x1b[2J\xff \xc3\xa9"
    for command in (["params", name], ["trace", name]):
        done = subprocess.run(
            ["rhobeta", *command],
            cwd=workspace,
            env=os.environ | {"PYTHONIOENCODING": "ascii:strict"},
            capture_output=True,
            check=False,
        )
        assert done.returncode in (1, 2), done.stderr
        assert rb"\x1b[2J\udcff \xe9" in done.stderr
        assert b"\x1b" not in done.stderr
        assert b"Traceback" not in done.stderr


def test_a_stage_closes_the_site_cache_that_dvc_made_for_all(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = tmp_path / "cache" / "rhobeta"
    private.mkdir(parents=True)
    private.chmod(0o777)
    private.parent.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(private.parent))
    assert main(["visualize"]) == 1
    assert [folder.stat().st_mode & 0o777 for folder in (private, private.parent)] == [0o700, 0o775]
