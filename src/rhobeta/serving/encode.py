"""`rhobeta encode`: the codes of the user's own images or vectors, in bounded memory."""

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from rhobeta.data.samples import kind_of
from rhobeta.data.splits import read_manifest
from rhobeta.errors import RhobetaError
from rhobeta.metrics.encoding import codes_of
from rhobeta.model.serialization import SavedModel
from rhobeta.paths import Paths
from rhobeta.serving.image_files import Images, open_images
from rhobeta.utils.files import atomic_write

_BATCH = 4096
_BATCH_BYTES = 64 << 20
_FAR_FROM_THE_MEAN = 0.2
# The earliest time that a zip archive can hold, so that equal codes are equal files.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def encode(saved: SavedModel, images: Path, *, out: Path, paths: Paths | None = None) -> None:
    """Write the codes of the samples at `images` into the .npz file `out`, whole or not at all.

    It holds `code` ([samples, units], float32), `model_sha256` and, for a folder, `names`. `paths`
    are those of a project, whose splits the images are compared with. Raises `RhobetaError` where
    the samples cannot be used.
    """
    if out.suffix != ".npz" or out.is_dir():
        raise RhobetaError(f"{out} is not the name of an .npz file: it must end in .npz.")
    found = open_images(images, saved.model.architecture.sample_shape)
    if images.is_file() and out.exists() and out.samefile(images):
        raise RhobetaError(f"{out} is the file of the samples; name another with --out.")
    with atomic_write(out) as partial:
        mean = _write(partial, found, saved)
    for note in [*found.notes, *([] if paths is None else _notes_on_mean(mean, saved, paths))]:
        print(f"note: {note}")
    units = saved.model.architecture.units
    print(f"{out}: {found.count} codes of {units} units, of the model {saved.sha256[:16]}...")


def _write(file: Path, images: Images, saved: SavedModel) -> float:
    """Write the archive batch by batch; returns the mean pixel of the images."""
    architecture = saved.model.architecture
    size = max(1, min(_BATCH, _BATCH_BYTES // (4 * architecture.features)))
    total = 0.0
    # No bar where the output is no terminal.
    bar = tqdm(
        total=images.count,
        unit=f" {kind_of(architecture.sample_shape)}",
        disable=None,
        dynamic_ncols=True,
    )
    with zipfile.ZipFile(file, "w") as archive:
        with _member(archive, "code") as stream:
            _write_header(stream, (images.count, architecture.units))
            for batch in images.batches(size):
                stream.write(codes_of(saved.model, batch).astype("<f4").tobytes())
                total += float(batch.sum(dtype=np.float64))
                bar.update(len(batch))
        _write_array(archive, "model_sha256", np.array(saved.sha256))
        if images.names is not None:
            _write_array(archive, "names", np.array(images.names))
    bar.close()
    return total / (images.count * architecture.features)


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(zipfile.ZipInfo(f"{name}.npy", _NO_TIME), "w", force_zip64=True)


def _write_header(stream: IO[bytes], shape: tuple[int, ...]) -> None:
    described = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, described)


def _write_array(archive: zipfile.ZipFile, name: str, values: NDArray[Any]) -> None:
    with _member(archive, name) as stream:
        np.lib.format.write_array(stream, values, allow_pickle=False)


def _notes_on_mean(mean: float, saved: SavedModel, paths: Paths) -> list[str]:
    """A note if the images look inverted compared with the training images, if these are here."""
    if not (paths.splits / "manifest.json").is_file():
        return []
    manifest = read_manifest(paths.splits)
    if manifest.sha256 != saved.description.data_sha256 or manifest.mean_pixel is None:
        return []
    usual = manifest.mean_pixel
    away = abs(mean - usual)
    if away <= max(_FAR_FROM_THE_MEAN, abs(1 - mean - usual)):
        return []
    return [
        f"the mean pixel is {mean:.2f}, that of the training images {usual:.2f}: the images may be"
        " inverted (dark on light), and their codes would mean little"
    ]
