"""`rhobeta export`: the model as ONNX, or for SAELens."""

import argparse
from pathlib import Path

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import MODEL_HELP, open_model


def add_parser(commands: Commands) -> None:
    """Add the subcommand."""
    parser = commands.add(
        "export",
        "write the model as ONNX, or in the format of SAELens",
        description="Write the model as ONNX, checked against torch; or with --saelens in the"
        " format that SAELens reads, for ReLU and TopK codes of one layer with an identity output.",
        examples=(
            "rhobeta export",
            "rhobeta export --onnx model.onnx --model HEAD~3",
            "rhobeta export --saelens sae",
        ),
    )
    which = parser.add_mutually_exclusive_group()
    commands.files += [
        which.add_argument(
            "--onnx",
            nargs="?",
            metavar="FILE",
            help="the file to write (default: models/autoencoder.onnx, or autoencoder.onnx outside"
            " a project)",
        ),
        which.add_argument(
            "--saelens",
            nargs="?",
            const="",
            metavar="FOLDER",
            help="write cfg.json and sae_weights.safetensors into this folder (default:"
            " models/saelens, or saelens outside a project)",
        ),
        parser.add_argument("--model", metavar="WHAT", help=MODEL_HELP),
    ]
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Write the file or the folder."""
    saved, paths = open_model(options.model)
    folder = Path() if paths is None else paths.model.parent
    if options.saelens is not None:
        from rhobeta.serving.saelens import export_saelens

        export_saelens(saved, folder=Path(options.saelens or folder / "saelens"))
        return
    from rhobeta.serving.export import export_onnx

    export_onnx(saved, file=Path(options.onnx or folder / "autoencoder.onnx"), paths=paths)
