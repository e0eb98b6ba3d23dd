"""`rhobeta export`: the model as ONNX."""

import argparse
from pathlib import Path

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import MODEL_HELP, open_project


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "export",
        "write the model as ONNX, checked against torch",
        examples=("rhobeta export", "rhobeta export --onnx model.onnx --model HEAD~3"),
    )
    parser.add_argument(
        "--onnx",
        nargs="?",
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
