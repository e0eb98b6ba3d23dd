"""`rhobeta compare`: trainings side by side."""

import argparse

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import WORD_HELP, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "compare",
        "compare runs: parameters that differ, metrics, curves, filters",
        description="Print the parameters in which trainings differ, and their metrics; write them"
        " with learning curves and decoder filters to reports/compare.html. Trainings that differ"
        " in their seed alone are one column, with the 95 % interval of the mean.",
        examples=(
            "rhobeta compare workspace HEAD~3",
            "rhobeta compare k-sparse ng-cs294a --no-page",
        ),
    )
    parser.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help=WORD_HELP,
    )
    parser.add_argument(
        "--all", action="store_true", help="also what is the same in all, and the last epoch"
    )
    parser.add_argument("--no-page", action="store_true", help="write no page")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print the comparison and write its page."""
    from rhobeta.lineage.compare import compare
    from rhobeta.lineage.project import Project

    project = Project(*open_project())
    compare(options.what, project, everything=options.all, page=not options.no_page)
