"""`rhobeta download`, `preprocess`, `train`, `evaluate`, `visualize`: the stages of dvc.yaml."""

import argparse
from importlib import import_module

from rhobeta.cli.grouped_help import Commands
from rhobeta.cli.project import open_project

STAGES = {
    "download": "bring the data set's files into data/raw, verified",
    "preprocess": "draw the train, validation and test splits",
    "train": "train the sparse autoencoder and open its MLflow run",
    "evaluate": "measure the model on the test split, beside baselines",
    "visualize": "draw the figures and write the report",
}


def add_parser(commands: Commands) -> None:
    """Add one subcommand a stage."""
    for name, help_text in STAGES.items():
        parser = commands.add(name, help_text)
        parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> None:
    """Run a stage while no other one works in the same workspace."""
    from rhobeta.utils.locks import workspace_lock
    from rhobeta.utils.signals import end_with_starter

    params, paths = open_project()
    end_with_starter()
    with workspace_lock(paths.workspace, options.command):
        import_module(f"rhobeta.pipeline.{options.command}").run(params, paths)
