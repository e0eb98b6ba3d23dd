"""The parser of the `rhobeta` command, and how errors are reported."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from rhobeta import __version__
from rhobeta.cli import (
    compare,
    completion,
    doctor,
    encode,
    export,
    params,
    presets,
    register,
    run,
    runs,
    stages,
    summary,
    sync,
    trace,
    tune,
    ui,
)
from rhobeta.cli.explain import explain
from rhobeta.cli.grouped_help import GroupedParser
from rhobeta.utils.signals import EndedBySignal, end_on_signals

# In the order of the help.
_GROUPS = {
    "stages, which `dvc repro` runs in order where something changed": (stages,),
    "experiments": (run, presets, params, tune),
    "results": (summary, runs, compare, trace, ui),
    "use a model": (register, export, encode),
    "upkeep": (doctor, sync, completion),
}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command and all its subcommands."""
    parser = GroupedParser(
        prog="rhobeta",
        description="A reproducible, experiment-tracked pipeline around a KL-sparse autoencoder.",
        epilog="`rhobeta COMMAND --help` shows the options of a command, with examples.",
    )
    parser.add_argument("--version", action="version", version=f"rhobeta {__version__}")
    for title, modules in _GROUPS.items():
        parser.commands.begin_group(title)
        for module in modules:
            module.add_parser(parser.commands)
    return parser


def run_command(arguments: Sequence[str] | None = None) -> int:
    """Parse `arguments` and run the command that they name; returns the exit status.

    0: success. 1: an error that the message explains. 2: wrong usage. 130: Ctrl-C. 143: SIGTERM.
    129: SIGHUP, the terminal was closed. 141: the reader of the output ended, as `head` does.
    An unexpected exception is raised.
    """
    parser = make_parser()
    options, more = parser.parse_known_args(arguments)
    if more and options.command != "run":
        parser.error(f"unrecognized arguments: {' '.join(more)}")
    options.dvc_arguments, options.parser = more, parser
    end_on_signals()
    try:
        status: int = options.function(options) or 0
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush again at exit, and print an error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        print(f"\nrhobeta {options.command}: interrupted.", file=sys.stderr)
        return 128 + signal.SIGINT
    except EndedBySignal as end:
        print(f"rhobeta {options.command}: ended by {end.signal.name}.", file=sys.stderr)
        return 128 + end.signal
    except Exception as error:
        message = explain(error, options.command)
        if message is None:
            raise
        print(f"rhobeta {options.command}: {message}", file=sys.stderr)
        return 1
    return status
