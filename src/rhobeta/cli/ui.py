"""`rhobeta ui`: MLflow's UI on this machine."""

import argparse

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add("ui", "show the runs in MLflow's UI on this machine")
    parser.add_argument("--port", type=int, default=5000, help="default: %(default)s")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Serve the UI until interrupted."""
    from rhobeta.tracking.ui import serve_ui

    params, paths = open_project()
    serve_ui(paths, params.runtime.experiment, options.port)
