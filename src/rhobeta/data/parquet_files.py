"""Tables in .parquet files: numeric columns as features, or one list column; a column of labels."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rhobeta.errors import RhobetaError

_LABELS = ("label", "labels", "target")
_INDEX = "__index_level_"  # pandas writes its index under such names


class ParquetTable:
    """A table of vectors, which is read in pieces.

    Raises `RhobetaError` for a file that cannot be read, has no numeric column, or lacks a value.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._path = path
        try:
            self._file = pq.ParquetFile(path)
            fields = list(self._file.schema_arrow)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise RhobetaError(f"{path} is not a readable .parquet file: {error}.") from None
        labels = [f.name for f in fields if f.name.lower() in _LABELS]
        fields = [f for f in fields if f.name not in labels and not f.name.startswith(_INDEX)]
        lists = [f.name for f in fields if _is_list(f.type)]
        numbers = [f.name for f in fields if _is_number(f.type)]
        if len(labels) > 1 or len(lists) > 1:
            kind, names = ("labels", labels) if len(labels) > 1 else ("lists of numbers", lists)
            raise RhobetaError(f"{path} has several columns of {kind}: {', '.join(names)}.")
        self.label_column = labels[0] if labels else None
        self.columns = lists or numbers
        self.is_list = bool(lists)
        if not self.columns:
            held = ", ".join(f"{f.name} ({f.type})" for f in fields) or "none"
            raise RhobetaError(
                f"{path} has no column of numbers, but {held}; expected a column for each feature,"
                " or one column of lists."
            )
        self.unused = [f.name for f in fields if f.name not in self.columns]
        wide = [self._file.schema_arrow.field(name).type for name in self.columns]
        self.dtype = np.result_type(*(_value_type(kind).to_pandas_dtype() for kind in wide))

    @property
    def feature_names(self) -> list[str] | None:
        """Names of the columns; None for a column of lists."""
        return None if self.is_list else self.columns

    @cached_property
    def shape(self) -> tuple[int, int]:
        """(rows, features)."""
        rows = self._file.metadata.num_rows
        first = next(self.pieces(1), None) if self.is_list else None
        return rows, len(self.columns) if first is None else first.shape[1]

    def pieces(self, rows: int) -> Iterator[NDArray[Any]]:
        """The features, at most `rows` rows at a time ([rows, features])."""
        start, width = 0, 0
        for batch in self._batches(rows, self.columns):
            columns = batch.columns
            for name, column in zip(self.columns, columns, strict=True):
                self._require_no_null(column, name, start)
            if self.is_list:
                width = width or self._width(columns[0])
                values = self._from_lists(columns[0], width, start)
            else:
                values = np.stack([_numbers(column, self.dtype) for column in columns], axis=1)
            yield values
            start += len(values)

    def labels(self) -> NDArray[Any]:
        """The column of labels (shape: [rows]), numbers or text."""
        found: list[Any] = []
        for batch in self._batches(1 << 16, [str(self.label_column)]):
            self._require_no_null(batch.columns[0], str(self.label_column), len(found))
            found += batch.columns[0].to_pylist()
        return np.array(found)

    def _batches(self, rows: int, columns: list[str]) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from self._file.iter_batches(rows, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise RhobetaError(f"{self._path} is damaged: {error}.") from None

    def _require_no_null(self, column: Any, name: str, start: int) -> None:
        if column.null_count:
            row = start + int(np.flatnonzero(np.asarray(column.is_null()))[0])
            raise RhobetaError(
                f"{self._path} has no value in row {row} (the first is 0) of column {name}.\nLeave"
                " such rows out, or fill them in."
            )

    def _width(self, column: Any) -> int:
        width: int = column.value_lengths()[0].as_py()
        if not width:
            raise RhobetaError(f"{self._path} has empty lists in column {self.columns[0]}.")
        return width

    def _from_lists(self, column: Any, width: int, start: int) -> NDArray[Any]:
        lengths = np.asarray(column.value_lengths())
        if (different := lengths != width).any():
            row = int(np.flatnonzero(different)[0])
            raise RhobetaError(
                f"{self._path} has lists of several lengths in column {self.columns[0]}:"
                f" {lengths[row]} in row {start + row} (the first is 0), {width} before; expected"
                " one length."
            )
        values = column.flatten()
        if values.null_count:
            row, place = divmod(int(np.flatnonzero(np.asarray(values.is_null()))[0]), width)
            raise RhobetaError(
                f"{self._path} has no value in row {start + row}, place {place} of column"
                f" {self.columns[0]} (the first are 0).\nLeave such rows out, or fill them in."
            )
        return _numbers(values, self.dtype).reshape(len(column), width)


def _numbers(column: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.asarray(column.to_numpy(zero_copy_only=False)).astype(dtype)


def _value_type(kind: Any) -> Any:
    return getattr(kind, "value_type", kind)


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _is_list(kind: Any) -> bool:
    from pyarrow import types

    lists = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return any(is_kind(kind) for is_kind in lists) and _is_number(kind.value_type)
