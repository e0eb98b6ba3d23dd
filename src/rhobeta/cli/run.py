"""`rhobeta run`: the pipeline as a DVC experiment, of a preset or of params.yaml."""

import argparse

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "run",
        "run all stages as a DVC experiment, with the values of a preset",
        description="Run the stages as a DVC experiment, with params.yaml as it is or with the"
        " values of a preset. All other options go to `dvc exp run`, such as -S PATH=VALUE,"
        " --name NAME, --queue or --temp. `rhobeta presets` lists the presets.",
        examples=(
            "rhobeta run --preset k-sparse",
            "rhobeta run --preset k-sparse -S training.epochs=5 --name short",
        ),
    )
    commands.presets.append(
        parser.add_argument("--preset", metavar="NAME", help="a file in presets/ (default: none)")
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Start `dvc exp run`; returns its status."""
    from rhobeta.config.presets import run_preset

    _, paths = open_project()
    return run_preset(paths.params, paths.presets, options.preset, options.dvc_arguments)
