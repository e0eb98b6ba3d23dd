"""The `rhobeta` command. Everything heavy is imported by the command that needs it."""

import argparse
import errno
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from rhobeta import __version__
from rhobeta.errors import RhobetaError
from rhobeta.signals import EndedBySignal, end_on_signals, end_with_starter

_STAGES = {
    "download": "bring the data set's files into data/raw, verified",
    "preprocess": "draw the train, validation and test splits",
    "train": "train the sparse autoencoder and open its MLflow run",
    "evaluate": "measure the model on the test split, beside floors",
    "visualize": "draw the figures and write the report",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    0 on success, 1 for a fault that the message explains, 2 for wrong usage, 130 on Ctrl-C, 143 on
    a request to end (SIGTERM), 129 when the terminal is closed (SIGHUP).
    """
    _run_the_workspace_code()
    parser = _parser()
    options, more = parser.parse_known_args(arguments)
    if more and options.command != "run":
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    options.dvc_arguments = more
    end_on_signals()
    try:
        return _dispatch(options)
    except RhobetaError as error:
        print(f"rhobeta {options.command}: {error}", file=sys.stderr)
    except OSError as error:
        message = _explain(error)
        if message is None:
            raise
        print(f"rhobeta {options.command}: {message}", file=sys.stderr)
    except Exception as error:
        if not _comes_from_the_store(error):
            raise
        from rhobeta.tracking.store import without_password

        # The statement that failed is the program's, not the user's.
        reason = without_password(" ".join(str(error).partition("[SQL:")[0].split()))[:500]
        print(
            f"rhobeta {options.command}: the MLflow store failed in the middle of the work:"
            f" {reason}\nNothing was left that looks finished. See to the store (its server, its"
            " disk, who else holds it) and run the command again.",
            file=sys.stderr,
        )
    except KeyboardInterrupt:
        print(f"\nrhobeta {options.command}: interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    except EndedBySignal as end:
        print(f"rhobeta {options.command}: ended by {end.signal.name}.", file=sys.stderr)
        return 128 + end.signal
    return 1


def _dispatch(options: argparse.Namespace) -> int:
    if options.command == "params" and options.schema:
        import json

        from rhobeta.params import Params
        from rhobeta.registry import load_extensions

        # Of the project that this is run in, if it is run in one.
        for folder in (Path.cwd(), *Path.cwd().parents):
            if (folder / "dvc.yaml").is_file():
                load_extensions(folder / "extensions")
                break
        print(json.dumps(Params.model_json_schema(), indent=2))
        return 0

    from rhobeta.params import flatten, load_params
    from rhobeta.paths import find_paths

    paths = find_paths()
    params = load_params(paths.params)
    if options.command == "run":
        from rhobeta.presets import run_preset

        return run_preset(paths.params, paths.presets, options.preset, options.dvc_arguments)
    if options.command == "params":
        for name, value in flatten(params).items():
            print(f"{name}: {value}")
        return 0
    if options.command == "presets":
        from rhobeta.presets import preset_names, preset_title

        for name in preset_names(paths.presets):
            print(f"{name:20}  {preset_title(paths.presets, name)}")
        return 0
    if options.command == "summary":
        from rhobeta.summary import print_summary

        print_summary(params, paths)
        return 0
    if options.command == "ui":
        from rhobeta.tracking.ui import serve_ui

        serve_ui(paths, params.runtime.experiment, options.port)
    from rhobeta.exclusive import exclusive_workspace

    end_with_starter()
    with exclusive_workspace(paths.workspace, options.command):
        importlib.import_module(f"rhobeta.stages.{options.command}").run(params, paths)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rhobeta",
        description="A reproducible, experiment-tracked pipeline around a KL-sparse autoencoder.",
        epilog="`dvc repro` runs the five stages in order, each only where something changed.",
    )
    parser.add_argument("--version", action="version", version=f"rhobeta {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND [-h]")
    for name, help_text in _STAGES.items():
        commands.add_parser(name, help=f"stage: {help_text}", description=help_text.capitalize())
    run = commands.add_parser(
        "run",
        help="run a preset as a DVC experiment",
        description="Run a preset of presets/ as a DVC experiment: cached, tracked, comparable.",
        epilog="All other options go to `dvc exp run`, such as `-S training.epochs=5`,"
        " `--name NAME`, `--queue` or `--temp`. `rhobeta presets` lists the presets.",
    )
    run.add_argument("--preset", required=True, metavar="NAME", help="a file in presets/")
    commands.add_parser("presets", help="list the presets")
    commands.add_parser("summary", help="print the results and where they are")
    ui = commands.add_parser("ui", help="show the runs in MLflow's UI on this machine")
    ui.add_argument("--port", type=int, default=5000, help="default: %(default)s")
    params = commands.add_parser("params", help="check params.yaml and print every value")
    params.add_argument("--schema", action="store_true", help="print its JSON schema instead")
    return parser


def _run_the_workspace_code() -> None:
    """Continue with the code of the workspace, if this command was loaded from elsewhere.

    An experiment in a temporary workspace, or a clone that shares an environment, must be made by
    its own code: that is what DVC records for it.
    """
    mine = Path(__file__).resolve().parent
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "dvc.yaml").is_file():
            theirs = folder / "src" / "rhobeta"
            if (theirs / "cli.py").is_file() and theirs.resolve() != mine:
                path = os.pathsep.join(
                    [str(theirs.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
                )
                os.environ["PYTHONPATH"] = path
                os.execv(sys.executable, [sys.executable, "-m", "rhobeta", *sys.argv[1:]])  # noqa: S606
            return


def _comes_from_the_store(error: Exception) -> bool:
    # By name, so that a command without a store does not import these libraries.
    return type(error).__module__.partition(".")[0] in ("mlflow", "sqlalchemy")


def _explain(error: OSError) -> str | None:
    place = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"the disk is full: {place} could not be written, and nothing half-written was left.\n"
            "Free some space and run the command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place} is not accessible ({error.strerror}).\nGrant access and run it again."
    return None
