"""The `rhobeta` command.

This module chooses which code runs: an experiment in a temporary workspace of DVC, or a clone that
shares an environment, runs its own.
"""

import gc
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from rhobeta.utils.cpu import fix_instructions


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status, which `rhobeta.cli.command` lists.

    `arguments` default to those of the process, which then runs the code of the workspace that it
    is started in, but for `--help` and `--version`.
    """
    if arguments is None:
        # As `python -P`: no process that this one starts imports from the current folder.
        os.environ["PYTHONSAFEPATH"] = "1"
        # A notebook's own backend may be missing here; figures go into files.
        os.environ["MPLBACKEND"] = "agg"
        _open_standard_streams()
        if not _asks_for_help(sys.argv[1:]) and _switch_to_workspace_code():
            from rhobeta.cli import main as workspace_main

            return workspace_main()
        # Before any of what follows loads a numerical library.
        fix_instructions()
        # The libraries' imports alone make more objects than a collection is worth.
        gc.set_threshold(100_000)
    from rhobeta.tracking.redaction import without_password
    from rhobeta.utils.signals import end_at_once_on_signals
    from rhobeta.utils.terminal import printable_output

    with printable_output(without_password):
        from rhobeta.cli.command import run_command

        try:
            return run_command(arguments)
        except Exception:
            if arguments is not None:
                raise
            # Here, where what it quotes is shown without secrets.
            traceback.print_exc()
            return 1
        finally:
            if arguments is None:
                end_at_once_on_signals()
                # The interpreter's end would search all objects for cycles, which takes a second.
                # Triton, which Lightning loads, would complain of what is left.
                if "triton" not in sys.modules:
                    gc.freeze()


def _open_standard_streams() -> None:
    """Lead streams that were closed before the start to nowhere.

    Else the next file that is opened, such as a database, takes the number of the closed stream.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether argparse would print help or version: it takes beginnings of an option too."""
    options = ("--help", "--version")
    return not arguments or any(
        word == "-h" or (len(word) > 2 and any(option.startswith(word) for option in options))
        for word in arguments
    )


def _switch_to_workspace_code() -> bool:
    """Import `rhobeta` from the workspace from now on; returns False where it is from there.

    Also False where there is no workspace: the command will say why.
    """
    from rhobeta.errors import RhobetaError
    from rhobeta.paths import find_workspace

    try:
        source = (find_workspace() / "src").resolve()
    except (RhobetaError, OSError):
        return False
    loaded = Path(__file__).resolve().parents[2]
    if source == loaded or not (source / "rhobeta" / "__main__.py").is_file():
        return False
    sys.path.insert(0, str(source))
    for name in [name for name in sys.modules if name.partition(".")[0] == "rhobeta"]:
        del sys.modules[name]
    return True
