"""What evaluation keeps of the test split for the figures, as bytes (safetensors)."""

import dataclasses
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError
from rhobeta.seal import UNSEALED, require_seal, seal

_FORMAT = "rhobeta-evaluation-1"


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

        described = {"format": _FORMAT, "seal": UNSEALED, "belongs_to": self.belongs_to}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        return seal(save(arrays, metadata={"rhobeta": json.dumps(described, sort_keys=True)}))

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str) -> "TestRecord":
        """Rebuild what `to_bytes` made. Raises `RhobetaError` where it is damaged."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            require_seal(content)
            return cls(**load(content), belongs_to=dict(_description(content)["belongs_to"]))
        except (RhobetaError, SafetensorError, TypeError, ValueError, KeyError) as error:
            raise RhobetaError(
                f"{name} is damaged ({error}).\nRun `dvc repro --force evaluate` to make it anew."
            ) from None


_ARRAYS = [field.name for field in dataclasses.fields(TestRecord) if field.name != "belongs_to"]


def _description(content: bytes) -> dict[str, Any]:
    (header_length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + header_length])
    described: dict[str, Any] = json.loads(header["__metadata__"]["rhobeta"])
    if described["format"] != _FORMAT:
        raise ValueError(f"its format is not {_FORMAT}")
    return described


def first_of_each_class(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Index of the first image of each class, in the order of the classes."""
    return np.unique(labels, return_index=True)[1]
