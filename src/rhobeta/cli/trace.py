"""`rhobeta trace`: data, code, parameters, experiment, run and trial that belong together."""

import argparse

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import WORD_HELP, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "trace",
        "print the data, code, parameters and runs behind a model",
        description="From a model file, an MLflow run, a DVC experiment, a git commit or a trial to"
        " all the others, and which links are missing.",
        examples=("rhobeta trace HEAD", "rhobeta trace trial 12 --all"),
    )
    parser.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help=WORD_HELP,
    )
    parser.add_argument("--all", action="store_true", help="all parameters and metrics")
    parser.add_argument("--json", action="store_true", help="print data instead")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print the lineage of what is named."""
    from rhobeta.lineage.project import Project
    from rhobeta.lineage.trace import trace

    word = " ".join(options.what)
    trace(word, Project(*open_project()), everything=options.all, as_json=options.json)
