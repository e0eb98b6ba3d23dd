"""The `rhobeta` command. Everything heavy is imported by the command that needs it."""

import errno
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import rhobeta
from rhobeta.cli.commands import run_command
from rhobeta.cli.parser import make_parser
from rhobeta.errors import RhobetaError
from rhobeta.utils.signals import EndedBySignal, end_on_signals

_STORE_LIBRARIES = ("mlflow", "optuna", "sqlalchemy", "requests", "urllib3")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    0 on success, 1 for a fault that the message explains, 2 for wrong usage, 130 on Ctrl-C, 143 on
    a request to end (SIGTERM), 129 when the terminal is closed (SIGHUP), 141 when nobody reads its
    output any more.
    """
    _run_the_workspace_code()
    parser = make_parser()
    options, more = parser.parse_known_args(arguments)
    if more and options.command != "run":
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    options.dvc_arguments = more
    end_on_signals()
    try:
        status = run_command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has had enough, as `head` has. Python would flush, and complain, at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except RhobetaError as error:
        print(f"rhobeta {options.command}: {error}", file=sys.stderr)
    except Exception as error:
        message = _explain(error)
        if message is not None:
            print(f"rhobeta {options.command}: {message}", file=sys.stderr)
            return 1
        if not _comes_from_the_store(error):
            raise
        from rhobeta.tracking.store import without_password

        # The statement that failed is the program's, not the user's.
        reason = without_password(" ".join(str(error).partition("[SQL:")[0].split()))[:500]
        store = "MLflow store"
        if options.command == "tune":
            store += ", or the studies' database,"
        print(
            f"rhobeta {options.command}: the {store} failed in the middle of the work:"
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
    else:
        return status
    return 1


def _run_the_workspace_code() -> None:
    """Continue with the code of the workspace, if this command was loaded from elsewhere.

    An experiment in a temporary workspace, or a clone that shares an environment, must be made by
    its own code: that is what DVC records for it.
    """
    mine = Path(rhobeta.__file__).resolve().parent
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "dvc.yaml").is_file():
            theirs = folder / "src" / "rhobeta"
            if (theirs / "__main__.py").is_file() and theirs.resolve() != mine:
                path = os.pathsep.join(
                    [str(theirs.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
                )
                os.environ["PYTHONPATH"] = path
                os.execv(sys.executable, [sys.executable, "-m", "rhobeta", *sys.argv[1:]])  # noqa: S606
            return


def _comes_from_the_store(error: Exception) -> bool:
    # By name, so that a command without a store does not import these libraries.
    return type(error).__module__.partition(".")[0] in _STORE_LIBRARIES


def _explain(error: Exception) -> str | None:
    if not isinstance(error, OSError):
        return None
    place = error.filename or "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return (
            f"the disk is full: {place} could not be written, and nothing half-written was left.\n"
            "Free some space and run the command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{place} is not accessible ({error.strerror}).\nGrant access and run it again."
    return None
