"""`rhobeta encode`: the codes of your own images or vectors."""

import argparse
from pathlib import Path

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import MODEL_HELP, open_model


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "encode",
        "write the codes of your own images or vectors",
        description="Write the codes of images: of a .npy, of the array `images` of a .npz, of a"
        " picture, or of a folder of pictures in the order of their names; or of vectors: of a"
        " .npy, or of the array `values` of a .npz.",
        examples=(
            "rhobeta encode images.npy",
            "rhobeta encode pictures --model HEAD~3 --out codes.npz",
            "rhobeta encode images.npy --model autoencoder.safetensors   # in any folder",
        ),
    )
    commands.files += [
        parser.add_argument("images", metavar="FILE_OR_FOLDER"),
        parser.add_argument("--model", metavar="WHAT", help=MODEL_HELP),
        parser.add_argument(
            "--out", default="codes.npz", metavar="FILE", help="default: %(default)s"
        ),
    ]
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Write the codes."""
    from rhobeta.serving.encode import encode

    saved, paths = open_model(options.model)
    encode(saved, Path(options.images), out=Path(options.out), paths=paths)
