"""All five stages in one process, without MLflow: `python -P all_stages.py` in a project.

An emulator takes a minute to import what they need, and as long again for MLflow, which writes
nothing that is compared. Only the modules of `rhobeta.tracking` that stages call are replaced.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

from rhobeta.utils.cpu import fix_instructions

_STAGES = ("download", "preprocess", "train", "evaluate", "visualize")
_REPLACED = ("backfill", "callback", "evaluation_log", "package", "store", "training_run")


class _Untracked(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        function = MagicMock(name=name)
        function.return_value.__enter__.return_value.run_id = "none"
        return function


def main() -> None:
    """Run the stages in the current folder."""
    fix_instructions()
    for name in _REPLACED:
        sys.modules[f"rhobeta.tracking.{name}"] = _Untracked(name)
    from pytorch_lightning import Callback

    class TrackEpochs(Callback):
        """Notes nothing."""

        def __init__(self, *_: Any) -> None:
            super().__init__()

    sys.modules["rhobeta.tracking.callback"].TrackEpochs = TrackEpochs  # type: ignore[attr-defined]
    from rhobeta.config.params import load_params
    from rhobeta.paths import find_paths

    paths = find_paths()
    params = load_params(paths.params)
    for stage in _STAGES:
        import_module(f"rhobeta.pipeline.{stage}").run(params, paths)
        print(f"ran {stage}", flush=True)


if __name__ == "__main__":
    main()
