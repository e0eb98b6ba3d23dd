"""`rhobeta completion`: the script by which a shell completes commands and options."""

import argparse

from rhobeta.cli.grouped_help import Commands

# The names of the files in presets/ of the current folder but base.yaml, which is no preset.
_PRESETS = {
    "bash": "_rhobeta_presets",
    "zsh": "_rhobeta_presets",
    "fish": r"(for file in presets/*.yaml; basename \$file .yaml; end | string match -v base)",
    "preamble": {
        "bash": """\
_rhobeta_presets() {
  local file
  for file in presets/*.yaml; do
    file=${file##*/}
    [ "$file" = base.yaml ] || compgen -W "${file%.yaml}" -- "$1"
  done
}""",
        "zsh": """\
_rhobeta_presets() {
  local names=(presets/*.yaml(N:t:r))
  compadd -- ${names:#base}
}""",
    },
}


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
    for action in options.parser.commands.presets:
        action.complete = _PRESETS
    print(shtab.complete(options.parser, options.shell))
