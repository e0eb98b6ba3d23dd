"""Train, validation and test splits: how they are drawn, and how they lie on disk.

`<split>.safetensors` holds `images` (images, height, width) and `labels` (images,) as bytes.
`manifest.json` says what they are: counts, mean pixel, digests, and the parameters that made them;
it is sealed, so that a damaged one is seen.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rhobeta.data.labelled import LabelledImages
from rhobeta.errors import RhobetaError
from rhobeta.files import require_file, sha256_of_bytes, write_bytes
from rhobeta.seal import read_sealed_json, write_sealed_json

SplitName = Literal["train", "validation", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("train", "validation", "test")
_MANIFEST = "manifest.json"
_MADE_BY = "rhobeta preprocess"


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says of the splits."""

    parameters: dict[str, Any]
    image_shape: tuple[int, int]
    classes: list[int]
    mean_pixel: float
    splits: dict[str, dict[str, Any]]
    sha256: str

    def digest(self, split: SplitName) -> str:
        """SHA-256 of the split's file."""
        return str(self.splits[split]["sha256"])


def keep_classes(data: LabelledImages, classes: list[int] | None) -> LabelledImages:
    """Only the images whose label is in `classes`, in their order; all where it is None.

    Raises `RhobetaError` where a class has no image.
    """
    if classes is None:
        return data
    present = set(np.unique(data.labels).tolist())
    if absent := sorted(set(classes) - present):
        raise RhobetaError(
            f"data.classes: found {classes}, but the data set has no images labelled"
            f" {', '.join(map(str, absent))}; it has {', '.join(map(str, sorted(present)))}."
        )
    return data.take(np.flatnonzero(np.isin(data.labels, classes)))


def hold_out(
    data: LabelledImages, fraction: float, *, seed: int, name: str
) -> tuple[LabelledImages, LabelledImages]:
    """Split `data` into the rest and a held-out share of every class, drawn by `seed`.

    Both keep the order of the data set; a fraction of 0 holds out nothing. `name` names the
    parameter of `fraction` in errors. Raises `RhobetaError` where a class has too few images to be
    in both.
    """
    from sklearn.model_selection import train_test_split

    if fraction == 0:
        return data, data.take(np.arange(0))
    held_out = round(len(data.labels) * fraction)
    labels, counts = np.unique(data.labels, return_counts=True)
    try:
        rest, held = train_test_split(
            np.arange(len(data.labels)), test_size=held_out, stratify=data.labels, random_state=seed
        )
        absent = np.setdiff1d(labels, np.intersect1d(data.labels[rest], data.labels[held]))
    except ValueError:
        # Refused by scikit-learn: a class of one image, or fewer places than classes.
        absent = labels[counts == counts.min()]
    if len(absent):
        raise RhobetaError(
            f"The data set of {len(data.labels)} images cannot be split by {name} {fraction}: the"
            f" {held_out} images held out cannot hold every class; the smallest classes are"
            f" {_counted(labels, counts)}.\nBring more images, raise {name}, or leave"
            " classes out with data.classes."
        )
    return data.take(np.sort(rest)), data.take(np.sort(held))


def _counted(labels: NDArray[np.uint8], counts: NDArray[np.intp]) -> str:
    smallest = np.argsort(counts, kind="stable")[:3]
    return ", ".join(f"{labels[i]} (with {counts[i]})" for i in smallest)


def write_splits(
    folder: Path,
    splits: dict[SplitName, LabelledImages],
    *,
    raw_files: dict[str, str],
    parameters: dict[str, Any],
) -> Manifest:
    """Write the three splits and their manifest into `folder`.

    `raw_files` are the digests of the files that they come from, by name; `parameters` those that
    made them, by dotted path. Raises `RhobetaError` where fewer
    than two classes are there.
    """
    from safetensors.numpy import save

    classes = np.unique(splits["train"].labels)
    if len(classes) < 2:
        raise RhobetaError(
            f"The data set has images of {len(classes)} class; expected two or more, since the"
            " probe tells classes apart.\nBring images of another class, or widen data.classes."
        )
    facts: dict[str, dict[str, Any]] = {}
    for name, split in splits.items():
        content = save({"images": np.ascontiguousarray(split.images), "labels": split.labels})
        write_bytes(folder / f"{name}.safetensors", content)
        labels, counts = np.unique(split.labels, return_counts=True)
        facts[name] = {
            "images": len(split.labels),
            "per_class": {str(k): int(n) for k, n in zip(labels, counts, strict=True)},
            "sha256": sha256_of_bytes(content),
        }
    height, width = splits["train"].images.shape[1:]
    manifest = {
        "parameters": parameters,
        "image_shape": [height, width],
        "classes": classes.tolist(),
        "mean_pixel": float(splits["train"].images.mean(dtype=np.float64) / 255),
        "splits": facts,
        "raw_files": raw_files,
        "sha256": sha256_of_bytes("".join(facts[n]["sha256"] for n in SPLIT_NAMES).encode()),
    }
    write_sealed_json(folder / _MANIFEST, manifest)
    return read_manifest(folder)


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json`. Raises `RhobetaError` where it is missing, damaged or malformed."""
    path = folder / _MANIFEST
    content = read_sealed_json(path, made_by=_MADE_BY)
    try:
        return Manifest(
            parameters=dict(content["parameters"]),
            image_shape=(int(content["image_shape"][0]), int(content["image_shape"][1])),
            classes=[int(label) for label in content["classes"]],
            mean_pixel=float(content["mean_pixel"]),
            splits={name: dict(content["splits"][name]) for name in SPLIT_NAMES},
            sha256=str(content["sha256"]),
        )
    except (TypeError, KeyError, ValueError, IndexError):
        raise RhobetaError(f"{path} does not describe splits.\nRun `{_MADE_BY}` again.") from None


def read_split(folder: Path, name: SplitName, manifest: Manifest) -> LabelledImages:
    """Read one split and verify that it is the one that the manifest names.

    Raises `RhobetaError` where the file is missing or its bytes are others.
    """
    from safetensors.numpy import load

    path = require_file(folder / f"{name}.safetensors", made_by=_MADE_BY)
    content = path.read_bytes()
    found, expected = sha256_of_bytes(content), manifest.digest(name)
    if found != expected:
        raise RhobetaError(
            f"{path} is not the file that manifest.json describes (SHA-256 {found[:16]}...,"
            f" expected {expected[:16]}...): it is damaged, or from another run.\n"
            "Run `dvc repro --force preprocess` to make it anew."
        )
    tensors: dict[str, NDArray[np.uint8]] = load(content)
    return LabelledImages(tensors["images"], tensors["labels"])
