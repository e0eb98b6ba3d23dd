"""`rhobeta encode`: the codes of your own images."""

import argparse
from pathlib import Path

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import MODEL_HELP, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "encode",
        "write the codes of your own images",
        description="Write the codes of images: of a .npy, of the array `images` of a .npz, of a"
        " picture, or of a folder of pictures in the order of their names.",
        examples=(
            "rhobeta encode images.npy",
            "rhobeta encode pictures --model HEAD~3 --out codes.npz",
        ),
    )
    parser.add_argument("images", metavar="FILE_OR_FOLDER")
    parser.add_argument("--model", metavar="WHAT", help=MODEL_HELP)
    parser.add_argument("--out", default="codes.npz", metavar="FILE", help="default: %(default)s")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Write the codes."""
    from rhobeta.lineage.project import Project
    from rhobeta.serving.encode import encode

    project = Project(*open_project())
    encode(project, Path(options.images), model=options.model, out=Path(options.out))
