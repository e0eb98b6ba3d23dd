"""`rhobeta export`: the model as ONNX."""

import argparse
from pathlib import Path

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import MODEL_HELP, open_model


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "export",
        "write the model as ONNX, checked against torch",
        examples=("rhobeta export", "rhobeta export --onnx model.onnx --model HEAD~3"),
    )
    commands.files += [
        parser.add_argument(
            "--onnx",
            nargs="?",
            metavar="FILE",
            help="the file to write (default: models/autoencoder.onnx, or autoencoder.onnx outside"
            " a project)",
        ),
        parser.add_argument("--model", metavar="WHAT", help=MODEL_HELP),
    ]
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Write the file."""
    from rhobeta.serving.export import export_onnx

    saved, paths = open_model(options.model)
    default = Path("autoencoder.onnx") if paths is None else paths.model.with_suffix(".onnx")
    export_onnx(saved, file=Path(options.onnx) if options.onnx else default, paths=paths)
