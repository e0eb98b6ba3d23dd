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
    parser.add_argument("--model", metavar="WHAT", help=MODEL_HELP)
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Write the file."""
    from rhobeta.lineage.project import Project
    from rhobeta.serving.export import export_onnx

    project = Project(*open_project())
    file = Path(options.onnx) if options.onnx else project.paths.model.with_suffix(".onnx")
    export_onnx(project, model=options.model, file=file)
