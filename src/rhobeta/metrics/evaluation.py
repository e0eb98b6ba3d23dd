"""What evaluation keeps of the test split for the figures, as bytes (safetensors)."""

import json
import struct
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum, verify_checksum

_FORMAT = "rhobeta-evaluation-1"

# What reading a header raises that is not what it should be.
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error)


@dataclass(frozen=True)
class TestRecord:
    """Codes and examples of the test split."""

    __test__ = False  # not a test case, whatever its name says to pytest

    activity: NDArray[np.float32]
    """Activity of every unit for every test image (shape: [images, units])."""
    labels: NDArray[np.uint8]
    """Class of every test image (shape: [images])."""
    examples: NDArray[np.float32]
    """The first test image of each class, in [0, 1] (shape: [classes, height, width])."""
    reconstructions: NDArray[np.float32]
    """Their reconstructions (shape: [classes, height, width])."""
    l0_counts: NDArray[np.int64]
    """How many images have 0, 1, ... active units (shape: [units + 1])."""
    l0_threshold: NDArray[np.float64]
    """The activity above which a unit counts as active there (shape: [1])."""
    top_units: NDArray[np.int64]
    """The most active units, in falling order of mean activity (shape: [at most 1024])."""
    top_images: NDArray[np.uint8]
    """The test images that excite each of them most (shape: [units, 9, height, width])."""
    belongs_to: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that go with this record, by a name for each."""

    def to_bytes(self) -> bytes:
        """Serialise and seal; the same record gives the same bytes."""
        from safetensors.numpy import save

        described = {"_seal": EMPTY_CHECKSUM, "format": _FORMAT, "belongs_to": self.belongs_to}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _FIELDS}
        return add_checksum(
            save(arrays, metadata={"rhobeta": json.dumps(described, sort_keys=True)})
        )

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str) -> "TestRecord":
        """Rebuild what `to_bytes` made.

        Raises `RhobetaError` where it is damaged, or its fields do not belong together.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            verify_checksum(content)
            record = cls(**load(content), belongs_to=_belongings(content))
            record._require_one_piece()
        except (RhobetaError, SafetensorError, *_MALFORMED) as error:
            raise RhobetaError(
                f"{name} is damaged ({error}).\nRun `dvc repro --force evaluate` to make it anew."
            ) from None
        return record

    def _require_one_piece(self) -> None:
        """Raises `ValueError` where a field's type, shape or values do not fit those of others."""
        sizes: dict[str, int] = {}
        for name, (kind, dimensions) in _FIELDS.items():
            values = getattr(self, name)
            names = dimensions.split()
            if (
                values.dtype != kind
                or values.ndim != len(names)
                or any(
                    sizes.setdefault(k, n) != n for k, n in zip(names, values.shape, strict=True)
                )
            ):
                raise ValueError(f"{name} is {values.dtype} of shape {values.shape}")
        unit_numbers, examples = self.top_units.tolist(), len(np.unique(self.labels))
        rules = {
            "activity": np.isfinite(self.activity).all(),
            "examples": sizes["classes"] == examples and np.isfinite(self.examples).all(),
            "reconstructions": np.isfinite(self.reconstructions).all(),
            "l0_counts": sizes["counts"] == sizes["units"] + 1
            and self.l0_counts.min() >= 0
            and self.l0_counts.sum() == sizes["images"],
            "l0_threshold": sizes["one"] == 1 and 0 <= self.l0_threshold.item() < 1,
            "top_units": len(set(unit_numbers)) == len(unit_numbers)
            and set(unit_numbers) <= set(range(sizes["units"])),
        }
        for name, holds in rules.items():
            if not holds:
                raise ValueError(f"{name} does not fit the other fields")


_FIELDS = {
    "activity": ("float32", "images units"),
    "labels": ("uint8", "images"),
    "examples": ("float32", "classes height width"),
    "reconstructions": ("float32", "classes height width"),
    "l0_counts": ("int64", "counts"),
    "l0_threshold": ("float64", "one"),
    "top_units": ("int64", "shown"),
    "top_images": ("uint8", "shown exciting height width"),
}


def _belongings(content: bytes) -> dict[str, str]:
    (header_length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + header_length])
    described = json.loads(header["__metadata__"]["rhobeta"])
    if described["format"] != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    return {str(name): str(digest) for name, digest in described["belongs_to"].items()}


def first_of_each_class(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Index of the first image of each class, in the order of the classes."""
    return np.unique(labels, return_index=True)[1]
