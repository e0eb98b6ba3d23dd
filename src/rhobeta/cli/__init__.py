"""The `rhobeta` command.

This module imports nothing of the package, so that it can choose which code runs: an experiment in
a temporary workspace of DVC, or a clone that shares an environment, runs its own.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status, which `rhobeta.cli.command` lists.

    `arguments` default to those of the process, which then runs the code of the workspace that it
    is started in.
    """
    if arguments is None and _switch_to_workspace_code():
        from rhobeta.cli import main as workspace_main

        return workspace_main()
    from rhobeta.cli.command import run_command

    return run_command(arguments)


def _switch_to_workspace_code() -> bool:
    """Import `rhobeta` from the workspace from now on; returns False where it is from there."""
    loaded = Path(__file__).resolve().parents[2]
    here = Path.cwd()
    workspace = next((f for f in (here, *here.parents) if (f / "dvc.yaml").is_file()), None)
    if workspace is None:
        return False
    source = (workspace / "src").resolve()
    if source == loaded or not (source / "rhobeta" / "__main__.py").is_file():
        return False
    sys.path.insert(0, str(source))
    # Processes that this one starts run the same code. An empty entry would be the current folder.
    paths = filter(None, [str(source), os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    for name in [name for name in sys.modules if name.partition(".")[0] == "rhobeta"]:
        del sys.modules[name]
    return True
