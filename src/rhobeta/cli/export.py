"""`rhobeta export`: the model as ONNX."""

import argparse
from pathlib import Path

from rhobeta.cli.project import MODEL_HELP, Commands, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("export", help="write the model as ONNX, checked against torch")
    parser.add_argument(
        "--onnx",
        nargs="?",
        required=True,
        const="",
        metavar="FILE",
        help="the file to write (default: models/autoencoder.onnx)",
    )
    parser.add_argument("--model", metavar="FILE_OR_RUN", help=MODEL_HELP)
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Write the file."""
    from rhobeta.serving.export import export_onnx

    params, paths = open_project()
    file = Path(options.onnx) if options.onnx else paths.model.with_suffix(".onnx")
    export_onnx(params, paths, model=options.model, file=file)
