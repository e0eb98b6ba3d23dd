"""What the command understands."""

import argparse

from rhobeta import __version__

STAGES = {
    "download": "bring the data set's files into data/raw, verified",
    "preprocess": "draw the train, validation and test splits",
    "train": "train the sparse autoencoder and open its MLflow run",
    "evaluate": "measure the model on the test split, beside baselines",
    "visualize": "draw the figures and write the report",
}

_WORDS = (
    "model file, digest, run id or name, DVC experiment, git revision, STUDY/NUMBER, `trial N`,"
    " study, preset, `presets` or `workspace`"
)


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
    compare = commands.add_parser(
        "compare",
        help="compare runs: the parameters that differ, every metric, curves and filters",
        description="Print the parameters in which trainings differ, and their metrics; write them"
        " with learning curves and decoder filters to reports/compare.html. Trainings that differ"
        " in their seed alone are one column, with the 95 %% interval of the mean.",
    )
    compare.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help=_WORDS,
    )
    compare.add_argument(
        "--all", action="store_true", help="also what is the same in all, and the last epoch"
    )
    compare.add_argument("--no-page", action="store_true", help="write no page")
    commands.add_parser("summary", help="print the results and where they are")
    sync = commands.add_parser(
        "sync",
        help="give the model in the workspace its MLflow run, where DVC brought it from a cache",
        description="After `dvc repro`, `exp run`, `exp apply`, `checkout` or `pull`: find the"
        " MLflow run of the model in the workspace, add what it lacks, or restore it.",
    )
    sync.add_argument("--quiet", action="store_true", help="print nothing where all is well")
    trace = commands.add_parser(
        "trace",
        help="print which data, code, parameters, experiment, run and trial belong together",
        description="From a model file, an MLflow run, a DVC experiment, a git commit or a trial to"
        " all the others, and which links are missing.",
    )
    trace.add_argument(
        "what",
        nargs="+",
        metavar="WHAT",
        help=_WORDS,
    )
    trace.add_argument("--all", action="store_true", help="all parameters and metrics")
    trace.add_argument("--json", action="store_true", help="print data instead")
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
    _add_serving(commands)
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


def _add_serving(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    which = f"{_WORDS} (default: models/autoencoder.safetensors)"
    register = commands.add_parser(
        "register",
        help="put the model into MLflow's registry; @champion moves only if it passes",
        description="Put the workspace's model into MLflow's model registry. It becomes @champion"
        " if it keeps the rules of params.yaml's section registry; else the command says which it"
        " breaks and ends with status 1.",
    )
    which_one = register.add_mutually_exclusive_group()
    which_one.add_argument("what", nargs="?", metavar="WHAT", help=which)
    which_one.add_argument("--run", metavar="ID", help="the model of this run")
    register.add_argument(
        "--new-data",
        action="store_true",
        help="let the thresholds alone decide where the champion is of another data set",
    )
    export = commands.add_parser("export", help="write the model as ONNX, checked against torch")
    export.add_argument(
        "--onnx",
        nargs="?",
        required=True,
        const="",
        metavar="FILE",
        help="the file to write (default: models/autoencoder.onnx)",
    )
    export.add_argument("--model", metavar="WHAT", help=which)
    encode = commands.add_parser(
        "encode",
        help="write the codes of your own images",
        description="Write the codes of images: of a .npy, of the array `images` of a .npz, of a"
        " picture, or of a folder of pictures in the order of their names.",
    )
    encode.add_argument("images", metavar="FILE_OR_FOLDER")
    encode.add_argument("--model", metavar="WHAT", help=which)
    encode.add_argument("--out", default="codes.npz", metavar="FILE", help="default: %(default)s")
