"""`rhobeta register`: the model in MLflow's registry."""

import argparse

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import MODEL_HELP, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "register",
        "put the model into MLflow's registry, as @champion if it passes",
        description="Put the workspace's model into MLflow's model registry. It becomes @champion"
        " if it keeps the rules of params.yaml's section registry; else the command says which it"
        " breaks and ends with status 1.",
        examples=("rhobeta register", "rhobeta register HEAD~3 --new-data"),
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("what", nargs="?", metavar="WHAT", help=MODEL_HELP)
    which.add_argument("--run", metavar="ID", help="the model of this run")
    parser.add_argument(
        "--new-data",
        action="store_true",
        help="let the thresholds alone decide where the champion is of another data set",
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Register the model."""
    from rhobeta.lineage.project import Project
    from rhobeta.serving.register import register

    project = Project(*open_project())
    register(project, word=options.run or options.what, new_data=options.new_data)
