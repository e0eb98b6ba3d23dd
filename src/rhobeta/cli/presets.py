"""`rhobeta presets`: the presets, or what one of them sets."""

import argparse

from rhobeta.cli.grouped_help import Commands


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "presets",
        "list the presets, or show what one of them sets",
        examples=("rhobeta presets", "rhobeta presets k-sparse"),
    )
    commands.presets.append(
        parser.add_argument(
            "name", nargs="?", metavar="NAME", help="a file in presets/ (default: all)"
        )
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print one line a preset; of a named one its comment and its values beside the present."""
    from rhobeta.config.presets import preset_names, preset_title
    from rhobeta.paths import find_paths

    paths = find_paths()
    if options.name is not None:
        _show(options.name)
        return
    for name in preset_names(paths.presets):
        print(f"{name:20}  {preset_title(paths.presets, name)}")


def _show(name: str) -> None:
    from rhobeta.cli.project import open_project
    from rhobeta.config.params import flatten
    from rhobeta.config.presets import as_override, preset_comment, read_preset

    params, paths = open_project()
    values, now = read_preset(paths.presets, name), flatten(params)
    print(f"{preset_comment(paths.presets, name)}\n")
    for path, value in values.items():
        line = f"{path}: {as_override(value)}"
        differs = now.get(path) != value
        print(f"{line:39} # params.yaml: {as_override(now.get(path))}" if differs else line)
    print(f"\n`rhobeta run --preset {name}` runs it as a DVC experiment.")
