"""What the command understands."""

import argparse

from rhobeta import __version__

STAGES = {
    "download": "bring the data set's files into data/raw, verified",
    "preprocess": "draw the train, validation and test splits",
    "train": "train the sparse autoencoder and open its MLflow run",
    "evaluate": "measure the model on the test split, beside floors",
    "visualize": "draw the figures and write the report",
}


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {text}, allowed: 1 or more")
    return number


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command and all its subcommands."""
    parser = argparse.ArgumentParser(
        prog="rhobeta",
        description="A reproducible, experiment-tracked pipeline around a KL-sparse autoencoder.",
        epilog="`dvc repro` runs the five stages in order, each only where something changed.",
    )
    parser.add_argument("--version", action="version", version=f"rhobeta {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND [-h]")
    for name, help_text in STAGES.items():
        commands.add_parser(name, help=f"stage: {help_text}", description=help_text.capitalize())
    run = commands.add_parser(
        "run",
        help="run a preset as a DVC experiment",
        description="Run a preset of presets/ as a DVC experiment: cached, tracked, comparable.",
        epilog="All other options go to `dvc exp run`, such as `-S training.epochs=5`,"
        " `--name NAME`, `--queue` or `--temp`. `rhobeta presets` lists the presets.",
    )
    run.add_argument("--preset", required=True, metavar="NAME", help="a file in presets/")
    commands.add_parser("presets", help="list the presets")
    commands.add_parser("summary", help="print the results and where they are")
    tune = commands.add_parser(
        "tune",
        help="search for rho and beta, or other parameters, as params.yaml's tune: section says",
        description="Search for parameters as the section tune of params.yaml says. A second run"
        " continues the study; several machines may share one.",
        epilog="apply: write the chosen values into params.yaml. show: print the front, and write"
        " table and pictures to reports/tuning/.",
    )
    tune.add_argument("action", nargs="?", choices=("apply", "show"), help="instead of searching")
    tune.add_argument(
        "--trials", type=_at_least_one, metavar="N", help="finished trials in all (tune.trials)"
    )
    tune.add_argument("--workers", type=_at_least_one, metavar="N", help="processes (tune.workers)")
    doctor = commands.add_parser(
        "doctor",
        help="look for what is wrong with environment, project and stores, and what to do",
        description="Check environment, project and stores. Changes nothing. Status 1 on a fault.",
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    ui = commands.add_parser("ui", help="show the runs in MLflow's UI on this machine")
    ui.add_argument("--port", type=int, default=5000, help="default: %(default)s")
    params = commands.add_parser("params", help="check params.yaml and print every value")
    params.add_argument("--schema", action="store_true", help="print its JSON schema instead")
    return parser
