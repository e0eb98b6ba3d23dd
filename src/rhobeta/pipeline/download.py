"""Stage 1: bring the data set's files into `data/raw`, every byte verified."""

from rhobeta.config.params import Params
from rhobeta.data.datasets import DATA_SETS
from rhobeta.data.downloads import fetch_all
from rhobeta.data.idx import write_idx
from rhobeta.data.own import read_own
from rhobeta.data.raw import describe_raw
from rhobeta.paths import Paths
from rhobeta.utils.files import atomic_folder, write_bytes


def run(params: Params, paths: Paths) -> None:
    """Fetch the data set `data.name`, or convert the user's own in `data/own`."""
    name = params.data.name
    with atomic_folder(paths.raw_data) as folder:
        if name == "own":
            for file_name, values in read_own(paths.own_data).items():
                write_bytes(folder / file_name, write_idx(values))
        else:
            fetch_all(DATA_SETS[name], folder, folder=params.runtime.data_folder)
        describe_raw(folder, name=name)
