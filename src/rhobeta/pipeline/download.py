"""Stage 1: bring the data set's files into `data/raw`, every byte verified."""

import shlex
from pathlib import Path

from rhobeta.config.params import Params
from rhobeta.data.datasets import DATA_SETS
from rhobeta.data.downloads import fetch_all
from rhobeta.data.own import OwnData, OwnOptions, convert_own
from rhobeta.data.raw import describe_raw
from rhobeta.errors import RhobetaError
from rhobeta.paths import Paths
from rhobeta.utils.files import atomic_folder


def run(params: Params, paths: Paths) -> None:
    """Fetch the data set `data.name`, or convert the user's own in `data/own`."""
    name = params.data.name
    with atomic_folder(paths.raw_data) as folder:
        if name == "own":
            own = _convert_own(paths, folder, params)
            describe_raw(
                folder, name=name, class_names=own.class_names, feature_names=own.feature_names
            )
        else:
            given = params.runtime.data_folder
            fetch_all(DATA_SETS[name], folder, folder=paths.given(given) if given else None)
            describe_raw(folder, name=name)


def _convert_own(paths: Paths, folder: Path, params: Params) -> OwnData:
    size = params.data.image_size
    options = OwnOptions(
        params.data.labels, None if size is None else (size[0], size[1]), params.data.color
    )
    try:
        own = convert_own(paths.own_data, folder, options)
    except RhobetaError:
        # DVC copies only files that git or DVC tracks into the workspace of `exp run --temp`.
        there = paths.store_root / paths.own_data.relative_to(paths.workspace)
        left = [path.name for path in sorted(there.glob("*")) if not _known(path, paths.own_data)]
        if not left:
            raise
        raise RhobetaError(
            f"This experiment runs in a temporary workspace, whose data/own lacks {left[0]}:"
            " neither git nor DVC tracks it.\nIn the project: dvc add"
            f" {shlex.quote(f'data/own/{left[0]}')}"
        ) from None
    for note in own.notes:
        print(f"own data: {note}")
    return own


def _known(path: Path, own: Path) -> bool:
    return path.name.startswith(".") or (own / path.name).exists()
