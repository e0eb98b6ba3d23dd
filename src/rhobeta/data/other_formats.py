"""Files in formats that are not read here: how their arrays can be brought in."""

from pathlib import Path

_READERS = {
    ".arrow": "pyarrow.feather.read_table",
    ".csv": "numpy.loadtxt",
    ".feather": "pandas.read_feather",
    ".h5": "h5py.File",
    ".hdf5": "h5py.File",
    ".joblib": "joblib.load",
    ".mat": "scipy.io.loadmat (h5py.File from version 7.3 on)",
    ".npy": "numpy.load",
    ".npz": "numpy.load",
    ".parquet": "pandas.read_parquet",
    ".pickle": "pickle.load",
    ".pkl": "pickle.load",
    ".pt": "torch.load",
    ".pth": "torch.load",
    ".safetensors": "safetensors.numpy.load_file",
    ".tsv": "numpy.loadtxt",
    ".txt": "numpy.loadtxt",
    ".xls": "pandas.read_excel",
    ".xlsx": "pandas.read_excel",
}
_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_PACKED = (".7z", ".bz2", ".gz", ".rar", ".tar", ".tgz", ".xz", ".zip", ".zst")


def way_in(path: Path) -> str:
    """How to come to the arrays of a file or folder, as a sentence without a full stop.

    >>> way_in(Path("digits.mat"))
    'scipy.io.loadmat (h5py.File from version 7.3 on) reads digits.mat'
    """
    ending = path.suffix.lower()
    if path.is_dir():
        return f"the folder {path.name} is not searched"
    if ending in _PACKED:
        return f"unpack {path.name} first"
    if ending in _PICTURES:
        return "PIL.Image.open reads a picture, numpy.stack makes one array of several"
    reader = _READERS.get(ending)
    return f"{reader} reads {path.name}" if reader else f"{path.name} is of no known kind"
