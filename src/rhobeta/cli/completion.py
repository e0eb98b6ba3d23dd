"""`rhobeta completion`: the script by which a shell completes commands and options."""

import argparse

from rhobeta.cli.grouped_help import Commands


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "completion",
        "print the script that completes the command in a shell",
        examples=(
            "rhobeta completion bash > ~/.local/share/bash-completion/completions/rhobeta",
            "rhobeta completion zsh > ~/.zfunc/_rhobeta   # a folder of $fpath",
            "rhobeta completion fish > ~/.config/fish/completions/rhobeta.fish",
        ),
    )
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Print the script."""
    import shtab

    for action in options.parser.commands.files:
        action.complete = shtab.FILE
    print(shtab.complete(options.parser, options.shell))
