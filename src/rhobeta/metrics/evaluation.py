"""The record of an evaluation: what `visualize` draws of the test split, as bytes (safetensors)."""

import json
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError
from rhobeta.model.header import MALFORMED, metadata_in
from rhobeta.paths import Paths
from rhobeta.utils.checksum import EMPTY_CHECKSUM, add_checksum, verify_checksum
from rhobeta.utils.files import require_file, sha256_of_file

_FORMAT = "rhobeta-evaluation-2"
_MADE_BY = "rhobeta evaluate"
# Of data without labels.
_EXAMPLES = 10


@dataclass(frozen=True)
class TestRecord:
    """Codes and reconstructions of the test split, whose rows it names by their index."""

    __test__ = False  # pytest: not a test case

    activity: NDArray[np.float32]
    """Activity of every unit for every row (shape: [rows, units])."""
    examples: NDArray[np.int64]
    """The rows that `example_rows` chose (shape: [examples])."""
    reconstructions: NDArray[np.float32]
    """Their reconstructions (shape: [examples, features])."""
    feature_mse: NDArray[np.float64]
    """MSE of each feature or pixel over all rows (shape: [features])."""
    l0_counts: NDArray[np.int64]
    """Number of rows with 0, 1, ... active units (shape: [units + 1])."""
    l0_threshold: NDArray[np.float64]
    """The activity above which a unit counts as active there (shape: [1])."""
    top_units: NDArray[np.int64]
    """The most active units, in falling order of mean activity (shape: [at most 1024])."""
    top_rows: NDArray[np.int64]
    """The rows that excite each of them most, -1 after the last (shape: [units, 9])."""
    belongs_to: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the files that go with this record, by file name."""

    def to_bytes(self) -> bytes:
        """Serialise, with a checksum; the same record gives the same bytes."""
        from safetensors.numpy import save

        described = {"_seal": EMPTY_CHECKSUM, "format": _FORMAT, "belongs_to": self.belongs_to}
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _FIELDS}
        return add_checksum(
            save(arrays, metadata={"rhobeta": json.dumps(described, sort_keys=True)})
        )

    @classmethod
    def from_bytes(cls, content: bytes, *, name: str) -> "TestRecord":
        """Read what `to_bytes` wrote.

        Raises `RhobetaError` where it is damaged, or its fields do not fit each other.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            verify_checksum(content)
            described = metadata_in(content, _FORMAT)
            belongs_to = {str(k): str(v) for k, v in described["belongs_to"].items()}
            record = cls(**load(content), belongs_to=belongs_to)
            record._check()
        except (RhobetaError, SafetensorError, *MALFORMED) as error:
            raise RhobetaError(
                f"{name} is damaged ({error}).\nRun `dvc repro --force evaluate` to write it again."
            ) from None
        return record

    def _check(self) -> None:
        """Raise `ValueError` where a field's type, shape or values do not fit the others."""
        sizes: dict[str, int] = {}
        for name, (kind, dimensions) in _FIELDS.items():
            values, axes = getattr(self, name), dimensions.split()
            fits = (
                values.dtype == kind
                and values.ndim == len(axes)
                and all(
                    sizes.setdefault(axis, size) == size
                    for axis, size in zip(axes, values.shape, strict=True)
                )
            )
            if not fits:
                raise ValueError(f"{name} is {values.dtype} of shape {values.shape}")
        units, rows = self.top_units.tolist(), sizes["rows"]
        rules = {
            "activity": np.isfinite(self.activity).all(),
            "examples": ((self.examples >= 0) & (self.examples < rows)).all(),
            "reconstructions": np.isfinite(self.reconstructions).all(),
            "feature_mse": (self.feature_mse >= 0).all() and np.isfinite(self.feature_mse).all(),
            "l0_counts": sizes["counts"] == sizes["units"] + 1
            and self.l0_counts.min() >= 0
            and self.l0_counts.sum() == rows,
            "l0_threshold": sizes["one"] == 1 and 0 <= self.l0_threshold.item() < 1,
            "top_units": len(set(units)) == len(units) and set(units) <= set(range(sizes["units"])),
            "top_rows": ((self.top_rows >= -1) & (self.top_rows < rows)).all(),
        }
        for name, holds in rules.items():
            if not holds:
                raise ValueError(f"{name} does not fit the other fields")


_FIELDS = {
    "activity": ("float32", "rows units"),
    "examples": ("int64", "examples"),
    "reconstructions": ("float32", "examples features"),
    "feature_mse": ("float64", "features"),
    "l0_counts": ("int64", "counts"),
    "l0_threshold": ("float64", "one"),
    "top_units": ("int64", "shown"),
    "top_rows": ("int64", "shown exciting"),
}


def evaluated_files(model_sha256: str, paths: Paths) -> dict[str, str]:
    """SHA-256 of the model and of the tables that go with an evaluation of it, by file name."""
    tables = (paths.details, paths.rate_distortion)
    digests = {path.name: sha256_of_file(require_file(path, made_by=_MADE_BY)) for path in tables}
    return {paths.model.name: model_sha256, **digests}


def read_record(model_sha256: str, paths: Paths) -> TestRecord:
    """Read the record of the test split.

    Raises `RhobetaError` where it is missing or damaged, or was written with another model or
    with other tables than those beside it.
    """
    content = require_file(paths.evaluation, made_by=_MADE_BY).read_bytes()
    record = TestRecord.from_bytes(content, name=str(paths.evaluation))
    for name, found in evaluated_files(model_sha256, paths).items():
        expected = record.belongs_to.get(name, "none")
        if found != expected:
            raise RhobetaError(
                f"{paths.evaluation} belongs to another {name} (expected SHA-256"
                f" {expected[:16]}..., found {found[:16]}...): one of them is damaged, or from"
                " another run.\nRun `dvc repro --force evaluate` to measure the present model."
            )
    return record


def example_rows(labels: NDArray[np.uint8] | None, count: int) -> NDArray[np.int64]:
    """Rows that stand for a split of `count` rows: the first of each class, in their order.

    Without labels ten rows, or all, evenly spaced: rows that lie together may be alike.

    >>> example_rows(np.array([7, 3, 7, 3, 0], np.uint8), 5).tolist()
    [4, 1, 0]
    >>> example_rows(None, 28).tolist()
    [0, 3, 6, 9, 12, 15, 18, 21, 24, 27]
    """
    if labels is not None:
        return np.unique(labels, return_index=True)[1].astype(np.int64)
    return np.linspace(0, count - 1, min(count, _EXAMPLES)).astype(np.int64)
