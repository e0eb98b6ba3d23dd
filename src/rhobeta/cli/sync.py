"""`rhobeta sync`: the MLflow run of the workspace's model, completed or restored."""

import argparse

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "sync",
        "complete or restore the MLflow run of the model in the workspace",
        description="After `dvc repro`, `exp run`, `exp apply`, `checkout` or `pull`: find the"
        " MLflow run of the model in the workspace, add what it lacks, or restore it.",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing where all is well")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Complete or restore the run while no stage works in the workspace."""
    from rhobeta.lineage.sync import sync
    from rhobeta.utils.locks import workspace_lock

    params, paths = open_project()
    with workspace_lock(paths.workspace, options.command):
        sync(params, paths, quiet=options.quiet)
