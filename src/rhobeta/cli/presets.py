"""`rhobeta presets`: the presets and what each is."""

import argparse

from rhobeta.cli.project import Commands


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    commands.add_parser("presets", help="list the presets").set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print one line a preset."""
    from rhobeta.config.presets import preset_names, preset_title
    from rhobeta.paths import find_paths

    folder = find_paths().presets
    for name in preset_names(folder):
        print(f"{name:20}  {preset_title(folder, name)}")
