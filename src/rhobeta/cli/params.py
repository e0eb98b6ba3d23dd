"""`rhobeta params`: every parameter, or the schema of params.yaml."""

import argparse
import json

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import load_extensions_here, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "params",
        "check params.yaml and print every value",
        examples=("rhobeta params", "rhobeta params --schema > schema.json"),
    )
    parser.add_argument("--schema", action="store_true", help="print its JSON schema instead")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print the values by dotted path, or the schema, which includes what extensions register."""
    from rhobeta.config.params import Params, flatten

    if options.schema:
        load_extensions_here()
        print(json.dumps(Params.model_json_schema(), indent=2))
        return
    params, _ = open_project()
    for name, value in flatten(params).items():
        print(f"{name}: {value}")
