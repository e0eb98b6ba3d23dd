"""`rhobeta doctor`: what is wrong with environment, project and stores."""

import argparse

from rhobeta.cli.grouped_help import Commands


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "doctor",
        "look for faults of environment, project and stores",
        description="Check environment, project and stores. Changes nothing. Status 1 on a fault.",
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Print the findings; returns 1 where one is a fault."""
    from rhobeta.lineage.doctor import examine, has_fault, print_findings
    from rhobeta.lineage.project import Project
    from rhobeta.paths import find_paths

    findings = examine(Project(None, find_paths()))
    print_findings(findings, as_json=options.json)
    return 1 if has_fault(findings) else 0
