"""`rhobeta runs`: the trainings as one table, the best first."""

import argparse

from rhobeta.cli.arguments import at_least
from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "runs",
        "list the trainings of the MLflow store, the best first",
        description="List the trainings of the MLflow store, a file or a server, the best by a"
        " metric first. Trials of a search are left out: `rhobeta tune show` lists them. Names may"
        " be shortened to their end where that is clear: mse is test/mse, rho is penalty.rho.",
        examples=(
            "rhobeta runs",
            "rhobeta runs --sort gini --filter 'mse<0.014 and rho<=0.1'",
            "rhobeta runs --filter experiment=k-sparse --csv > runs.csv",
            "rhobeta runs --filter 'metrics.`test/mse` < 0.02'   # MLflow's own syntax",
        ),
    )
    parser.add_argument(
        "--sort", metavar="NAME", help="a metric or parameter to sort by (default: test/mse)"
    )
    parser.add_argument(
        "--filter",
        action="append",
        default=[],
        metavar="CONDITION",
        help="keep runs with NAME<VALUE (or <=, >, >=, =, !=), several joined by `and`, or a"
        " filter of MLflow",
    )
    parser.add_argument(
        "--limit",
        type=at_least(1),
        metavar="N",
        help="most runs to list (default: 20 in the table)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print all parameters and metrics as CSV")
    form.add_argument("--json", action="store_true", help="print all of them as JSON")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print the runs."""
    from rhobeta.lineage import leaderboard
    from rhobeta.lineage.project import Project

    rows = leaderboard.list_runs(Project(*open_project()), options.filter, options.sort)
    whole = options.csv or options.json
    shown = rows[: options.limit or (len(rows) if whole else leaderboard.SHOWN)]
    if whole:
        print((leaderboard.as_csv if options.csv else leaderboard.as_json)(shown).rstrip())
        return
    if not shown:
        print("no training" + (" keeps the filters" if options.filter else " yet"))
        return
    print(leaderboard.as_table(shown, [options.sort] if options.sort else []))
    for note in leaderboard.notes_on(shown, len(rows)):
        print(f"note: {note}")
