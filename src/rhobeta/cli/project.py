"""What commands share: the project that they run in, and words of their help."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rhobeta.config.params import Params
    from rhobeta.paths import Paths

WORD_HELP = (
    "model file, digest, run id or name, DVC experiment, git revision, STUDY/NUMBER, `trial N`,"
    " study, preset, `presets` or `workspace`"
)
"""What names a model or a run, in every command that takes one."""

MODEL_HELP = f"{WORD_HELP} (default: workspace)"


def open_project() -> tuple["Params", "Paths"]:
    """The checked parameters and the paths of the project around the current folder."""
    from rhobeta.config.params import load_params
    from rhobeta.paths import find_paths

    paths = find_paths()
    return load_params(paths.params), paths
