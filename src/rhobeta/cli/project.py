"""What commands share: the project that they run in, its models, and words of their help."""

from pathlib import Path
from typing import TYPE_CHECKING

from rhobeta.errors import RhobetaError

if TYPE_CHECKING:
    from rhobeta.config.params import Params
    from rhobeta.model.serialization import SavedModel
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


def open_model(word: str | None) -> tuple["SavedModel", "Paths | None"]:
    """The model that `word` names (None: the workspace's), and the paths of the project, if any.

    The file of a model needs no project; the extensions of one that is there are loaded.
    """
    from rhobeta.lineage.models import find_model
    from rhobeta.lineage.project import Project
    from rhobeta.model.serialization import read_network

    paths = load_extensions_here()
    if word is not None and Path(word).is_file():
        return read_network(Path(word)), paths
    try:
        params, paths = open_project()
    except RhobetaError as error:
        hint = "" if paths else "\nA model file needs no project: --model FILE.safetensors."
        raise RhobetaError(f"{error}{hint}") from None
    return find_model(word, Project(params, paths)), paths


def load_extensions_here() -> "Paths | None":
    """Load the extensions of the project around the current folder; its paths, None if none is."""
    from rhobeta.extensions import load_extensions
    from rhobeta.paths import find_paths

    try:
        paths = find_paths()
    except RhobetaError:
        return None
    load_extensions(paths.workspace / "extensions")
    return paths
