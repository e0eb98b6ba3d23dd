"""`rhobeta summary`: the results and where they are."""

import argparse

from rhobeta.cli.grouped_help import Commands


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add("summary", "print the results and where they are")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print the summary of the workspace's model."""
    from rhobeta.lineage.project import Project
    from rhobeta.lineage.summary import print_summary
    from rhobeta.paths import find_paths

    print_summary(Project(None, find_paths()))
