# ruff: noqa: PLC0415 - pandas, polars and pyarrow load on first use
"""Parquet files read as one table, chunk by chunk; errors name the file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_tasks.chunks.dataset import Found, common_schema, found_at
from resilient_tasks.storage.arrow import to_polars

if TYPE_CHECKING:
    import pyarrow as pa

_PANDAS = b"pandas"
_EXACT = 2**53  # floats hold all integers up to this one


class Chunk(NamedTuple):
    """Some rows of a file.

    Attributes:
        file: The file.
        start: The number of its first row in the file.
        table: The rows, in the columns and types common to all files.
    """

    file: Path
    start: int
    table: pa.Table

    def __str__(self) -> str:
        return f"{self.file}, rows {self.start:,} to {self.start + self.table.num_rows - 1:,}"


@dataclass(frozen=True)
class Sources:
    """Parquet files with the same columns.

    Attributes:
        found: The files by name, and the columns in their folder names.
        types: The columns and types, in the order of the first file with rows; then those of the folders.
        rows: The number of rows.
    """

    found: Found
    types: pa.Schema
    rows: int

    @property
    def files(self) -> tuple[Path, ...]:
        """The files, sorted by name."""
        return self.found.files

    @classmethod
    def at(cls, source: str | os.PathLike[str]) -> Sources:
        """Find the files and compare their columns. Files without rows are ignored.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If a file cannot be read, or its columns or types differ from the others'. It is named.
        """
        import pyarrow.parquet as pq

        found, schemas, rows = found_at(source), {}, 0
        for file in found.files:
            with naming(file):
                footer, schema = pq.read_metadata(file), pq.read_schema(file)
            rows += footer.num_rows
            if footer.num_rows:
                schemas[file] = schema
        first = found.files[0]
        return cls(found, found.with_keys(common_schema(schemas or {first: pq.read_schema(first)})), rows)

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """Read the files in chunks of at most `rows` rows; without any rows, yield one empty chunk."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.rows:
            yield Chunk(self.files[0], 0, self.types.empty_table())
        for file in self.files:
            start = 0
            with naming(file):
                parquet = pq.ParquetFile(file)
            with parquet:
                batches = parquet.iter_batches(batch_size=rows)
                while True:
                    with naming(file):
                        batch = next(batches, None)
                        if batch is None:
                            break
                        table = self.found.completed(pa.Table.from_batches([batch]), file, self.types)
                    if table.num_rows:
                        yield Chunk(file, start, table)
                    start += table.num_rows

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """Read one column of all files, in pieces."""
        for file in self.files:
            yield from _column(file, name)

    def has_nulls(self, name: str) -> bool:
        """Return whether any file has nulls in a column. Reads the column only if a file lacks statistics."""
        return self.found.has_nulls(name) or any(
            _any(
                file,
                name,
                lambda facts: facts.null_count > 0 if facts.has_null_count else None,
                lambda values: bool(values.null_count),
            )
            for file in self.files
        )

    def has_more_than_floats(self, name: str) -> bool:
        """Return whether a column has integers that floats cannot hold. Reads the column as `has_nulls` does."""
        return any(_any(file, name, _bounds_are_beyond, _is_beyond) for file in self.files)

    @cached_property
    def index(self) -> PandasIndex:
        """The index, from pandas' notes in the files."""
        notes = _notes(self.types, self.files[0])
        levels = [level for level in notes.get("index_columns", []) if isinstance(level, str)]
        ranges = {} if levels else {file: found for file in self.files if (found := _range(file)) is not None}
        labelled = any(
            (found["start"], found["step"], found["name"]) != (0, 1, None) for found in ranges.values()
        )  # pandas writes row numbers from 0 for a frame without an index of its own
        return PandasIndex(bool(levels), ranges if labelled else {})


class PandasIndex(NamedTuple):
    """The index of the frames that were written.

    Attributes:
        in_columns: Whether its levels are columns.
        ranges: The range of each file, if the index is stored as ranges other than row numbers from 0.
    """

    in_columns: bool
    ranges: dict[Path, dict[str, Any]]

    @property
    def exists(self) -> bool:
        """Whether the rows have labels of their own."""
        return self.in_columns or bool(self.ranges)


@contextmanager
def naming(what: Path | Chunk) -> Iterator[None]:
    """Name the file or the chunk in errors of Arrow.

    Raises:
        ValueError: For an error of Arrow.
    """
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if getattr(error, "filename", None):
            raise
        first = str(error).strip().partition("\n")[0]
        raise ValueError(f"{what}: {first}") from error


def converter(kind: str | None, sources: Sources) -> Callable[[Chunk], Any]:
    """Return a function that converts chunks to frames, with the types of a frame of all rows.

    It raises a ValueError that names the chunk if the library lacks a type.
    """
    import polars as pl

    try:
        convert = _PandasConverter(sources) if kind == "pandas" else lambda chunk: to_polars(chunk.table)
    except (TypeError, KeyError) as error:
        raise _unreadable(sources.files[0], error) from error

    def named_in_errors(chunk: Chunk) -> Any:
        try:
            with naming(chunk):
                return convert(chunk)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, OverflowError) as error:
            raise ValueError(f"{chunk if chunk.table.num_rows else chunk.file}: {error}") from error

    return named_in_errors


class _PandasConverter:
    """Converts chunks to pandas; types that pandas infers from values are inferred from all rows, not from a chunk."""

    def __init__(self, sources: Sources) -> None:
        import pandas as pd
        import pyarrow as pa

        self._index = sources.index
        self._notes = dict(sources.types.metadata or {})
        if _PANDAS in self._notes and not self._index.in_columns:
            self._notes[_PANDAS] = without_index(self._notes[_PANDAS])
        self._dictionaries = {
            field.name: _all_values(sources, field.name)
            for field in sources.types
            if pa.types.is_dictionary(field.type)
        }
        empty = sources.types.empty_table().replace_schema_metadata(self._notes).to_pandas()
        kinds = {str(name): kind for name, kind in empty.dtypes.items() if not hasattr(kind, "na_value")}
        flags = {name for name, kind in kinds.items() if kind.kind in "iub" and sources.has_nulls(name)}
        self._objects = {name for name in flags if kinds[name].kind == "b"}
        wide = {name for name in flags - self._objects if kinds[name].itemsize * 8 > _EXACT.bit_length()}
        nullable: dict[str, Any] = {"i": pd.Int64Dtype(), "u": pd.UInt64Dtype()}
        self._integers = {name: nullable[kinds[name].kind] for name in wide if sources.has_more_than_floats(name)}
        self._floats = flags - self._objects - self._integers.keys()

    def __call__(self, chunk: Chunk) -> Any:
        import pandas as pd
        import pyarrow as pa

        table = chunk.table.replace_schema_metadata(self._notes)
        for name in self._floats:
            at = table.column_names.index(name)
            table = table.set_column(at, name, table.column(at).cast(pa.float64(), safe=False))
        for name, values in self._dictionaries.items():
            at = table.column_names.index(name)
            table = table.set_column(at, name, _by_dictionary(table.column(at), values))
        frame = table.to_pandas(split_blocks=True)
        names = list(map(str, frame.columns))
        for name in self._objects:
            frame.isetitem(names.index(name), frame.iloc[:, names.index(name)].astype(object))
        for name, kind in self._integers.items():
            frame.isetitem(names.index(name), kind.__from_arrow__(table[name]))
        if self._index.ranges:
            found = self._index.ranges.get(chunk.file, {"start": 0, "step": 1, "name": None})
            first, step = found["start"] + chunk.start * found["step"], found["step"]
            frame.index = pd.RangeIndex(first, first + len(frame) * step, step, name=found["name"])
        return frame


def _column(file: Path, name: str) -> Iterator[pa.ChunkedArray]:
    import pyarrow.parquet as pq

    with naming(file), pq.ParquetFile(file) as parquet:
        if name in parquet.schema_arrow.names:
            for batch in parquet.iter_batches(columns=[name]):
                yield batch.column(0)


def _any(
    file: Path, name: str, by_statistics: Callable[[Any], bool | None], by_values: Callable[[pa.Array], bool]
) -> bool:
    """Return whether a condition holds in any part of a column, by statistics, or by values where these are missing."""
    import pyarrow.parquet as pq

    footer = pq.read_metadata(file)
    for group in map(footer.row_group, range(footer.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema == name:
                answer = None if column.statistics is None else by_statistics(column.statistics)
                if answer is None:
                    return any(map(by_values, _column(file, name)))
                if answer:
                    return True
    return False


def _bounds_are_beyond(facts: Any) -> bool | None:
    if not facts.has_min_max:
        return None if facts.num_values else False
    return bool(max(abs(facts.min), abs(facts.max)) > _EXACT)


def _is_beyond(values: pa.Array) -> bool:
    import pyarrow.compute as pc

    least, most = pc.min_max(values).as_py().values()
    return least is not None and bool(max(abs(least), abs(most)) > _EXACT)


def _range(file: Path) -> dict[str, Any] | None:
    import pyarrow.parquet as pq

    notes = _notes(pq.read_schema(file), file)
    found = [level for level in notes.get("index_columns", []) if isinstance(level, dict)]
    return found[0] if found and pq.read_metadata(file).num_rows else None


def _notes(types: pa.Schema, file: Path) -> dict[str, Any]:
    """Return pandas' notes about the frames that it wrote."""
    try:
        return dict(json.loads((types.metadata or {}).get(_PANDAS, b"{}")))
    except ValueError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> ValueError:
    way_out = "split it by a polars schema, or write it anew"
    return ValueError(f"{file}: pandas cannot read its own notes on types and index there ({error}); {way_out}")


def without_index(notes: bytes) -> bytes:
    """Return pandas' notes without an index."""
    return json.dumps({**json.loads(notes), "index_columns": []}).encode()


def _all_values(sources: Sources, name: str) -> pa.Array:
    """Return all values of a column's dictionaries, in the order of the rows."""
    import pyarrow as pa

    kind = sources.types.field(name).type
    values: dict[Any, None] = {}
    for piece in sources.column(name):
        known = piece.dictionary if pa.types.is_dictionary(piece.type) else piece.unique().drop_null()
        values.update(dict.fromkeys(known.to_pylist()))
    return pa.DictionaryArray.from_arrays(
        pa.array([], pa.int32()), pa.array(list(values), kind.value_type), ordered=kind.ordered
    )


def _by_dictionary(column: pa.ChunkedArray, empty: pa.DictionaryArray) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.cast(empty.type.value_type).combine_chunks()
    numbers = pc.index_in(values, empty.dictionary)
    if numbers.null_count != values.null_count:
        raise pa.ArrowInvalid("it has values that were not there before: the data changed meanwhile")
    return pa.DictionaryArray.from_arrays(numbers, empty.dictionary, ordered=empty.type.ordered)
