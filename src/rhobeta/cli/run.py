"""`rhobeta run`: a preset as a DVC experiment."""

import argparse

from rhobeta.cli.project import Commands, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "run",
        help="run a preset as a DVC experiment",
        description="Run a preset of presets/ as a DVC experiment: cached, tracked, comparable.",
        epilog="All other options go to `dvc exp run`, such as `-S training.epochs=5`,"
        " `--name NAME`, `--queue` or `--temp`. `rhobeta presets` lists the presets.",
    )
    parser.add_argument("--preset", required=True, metavar="NAME", help="a file in presets/")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Start `dvc exp run`; returns its status."""
    from rhobeta.config.presets import run_preset

    _, paths = open_project()
    return run_preset(paths.params, paths.presets, options.preset, options.dvc_arguments)
