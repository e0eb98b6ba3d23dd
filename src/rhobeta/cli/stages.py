"""`rhobeta download`, `preprocess`, `train`, `evaluate`, `visualize`: the stages of dvc.yaml."""

import argparse
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from rhobeta.cli.grouped_help import Commands
from rhobeta.errors import RhobetaError

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
    """Run a stage while no other one works in the same workspace.

    Until it is done, its earlier outputs stay. Raises `RhobetaError` where `params.yaml` is
    refused; that of a DVC experiment gets its earlier content then.
    """
    from rhobeta.config.params import load_params
    from rhobeta.lineage.recovery import put_back_outputs, put_back_params
    from rhobeta.paths import find_paths
    from rhobeta.utils.locks import workspace_lock
    from rhobeta.utils.signals import end_with_starter

    paths = find_paths()
    _close_site_cache()
    put_back_outputs(paths, options.command)
    try:
        params = load_params(paths.params)
    except RhobetaError as error:
        if not put_back_params(paths):
            raise
        raise RhobetaError(f"{error}\nparams.yaml is again what it was before.") from None
    end_with_starter()
    with workspace_lock(paths.workspace, options.command):
        import_module(f"rhobeta.pipeline.{options.command}").run(params, paths)


def _close_site_cache() -> None:
    """Close the folder around DVC's site cache to other users.

    Where `make setup` made one and it was deleted, DVC makes it and all above it for everyone.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111
    private = cache / "rhobeta"
    with suppress(OSError):
        # Others could put another folder in its place if they could write to the one above.
        for folder, refused in ((private, 0o077), (cache, 0o002)):
            found = folder.stat()
            # One with the sticky bit, such as /tmp, is meant for everyone.
            mode = found.st_mode & 0o7777
            if mode & refused and found.st_uid == os.geteuid() and not mode & 0o1000:
                folder.chmod(mode & ~refused)
                print(f"note: closed {folder} to other users", file=sys.stderr)
