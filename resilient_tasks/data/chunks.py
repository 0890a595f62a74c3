# ruff: noqa: PLC0415 - pandas, polars, pandera and pyarrow load on first use
"""Split Parquet data that is larger than memory, one chunk of rows after the other."""

from __future__ import annotations

import glob
import hashlib
import os
import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_tasks.core.wording import number_of
from resilient_tasks.data._chunk_rules import check_by_chunks
from resilient_tasks.data.quarantine import Quarantine
from resilient_tasks.data.schemas import as_schema, fingerprint, library
from resilient_tasks.data.split import Report, Split, split

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class ChunksReport:
    """What a split by chunks found, over all chunks.

    Attributes:
        rows: Rows read.
        invalid: Rows that are bad.
        reasons: Rows for each (column, check), most frequent first.
        chunks: How many chunks were split.
    """

    rows: int
    invalid: int
    reasons: Mapping[tuple[str, str], int]
    chunks: int

    @property
    def good(self) -> int:
        """Rows that were written to the target."""
        return self.rows - self.invalid


class _Chunk(NamedTuple):
    file: Path
    start: int  # the number of its first row in the file
    table: pa.Table


def split_parquet(
    source: str | os.PathLike[str],
    schema: Any,
    good: str | os.PathLike[str],
    *,
    quarantine: Quarantine | str | os.PathLike[str] | None = None,
    operation: str = "split_parquet",
    rows: int = 1_000_000,
    progress: bool | None = None,
) -> ChunksReport:
    """Split Parquet data by a schema, in memory that depends on the size of a chunk and not of the data.

    The target appears whole or not at all, and after every bad row is in the quarantine. A run that was killed is
    repeated with the same arguments: it replaces what the first one left there.

    Args:
        source: A Parquet file, a folder of them (with its subfolders), or a pattern such as `"data/2013-*.parquet"`.
        schema: A pandera schema or model, for pandas or polars.
        good: The Parquet file for the rows that the schema accepts, as it returns them; replaced if it exists.
        quarantine: Where the bad rows go, one batch a chunk; None drops them.
        operation: The name of the data in the quarantine.
        rows: At most so many rows in a chunk.
        progress: Whether to show a progress bar on standard error; None: where that is a terminal.

    Returns:
        The totals. Rows read are good rows written and bad rows, always.

    Raises:
        FileNotFoundError: If there is nothing at `source`.
        ValueError: If the schema has a rule that no chunk can judge by itself (uniqueness, or a check that may look at
            other rows), if a chunk is wrong as a whole, or if `good` is among the sources. `good` stays as it was.
        QuarantineError: If bad rows cannot be kept.
    """
    import pyarrow.parquet as pq

    built, target, files = as_schema(schema), Path(good), _files(source)
    if target.resolve() in {file.resolve() for file in files}:
        raise ValueError(f"{target} is one of the files to read; write the good rows elsewhere.")
    check_by_chunks(built, library(schema), pq.read_schema(files[0]))
    keep = _keeper(quarantine, operation, fingerprint(schema))
    expected = sum(pq.read_metadata(file).num_rows for file in files)
    read, invalid, chunks, reasons = 0, 0, 0, Counter[tuple[str, str]]()
    convert = _converter(library(schema), files)
    with _bar(expected, wanted=progress) as advance, _writer(target) as write:
        for chunk in _chunks(files, rows):
            parts = _judged(chunk, convert(chunk.table), built)
            keep(chunk, parts)
            written = write(parts.good)
            if written + parts.report.invalid != chunk.table.num_rows:
                there = number_of(chunk.table.num_rows, "row")
                raise RuntimeError(f"{_name(chunk)}: {there} read, {written:,} good ones written")
            read, invalid, chunks = read + chunk.table.num_rows, invalid + parts.report.invalid, chunks + 1
            reasons.update(parts.report.reasons)
            advance(chunk.table.num_rows)
        if read != expected:
            raise RuntimeError(f"{source} says that it has {number_of(expected, 'row')}, and {read:,} were read")
    return ChunksReport(read, invalid, dict(reasons.most_common()), chunks)


def _files(source: str | os.PathLike[str]) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        hidden = (".", "_")  # what writers leave beside the data
        found = [file for file in path.rglob("*.parquet") if not file.name.startswith(hidden)]
    else:
        pattern = glob.glob(os.fspath(source), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [path] if path.exists() else list(map(Path, pattern))
    if not found:
        raise FileNotFoundError(f"There is no Parquet file at {os.fspath(source)}.")
    return sorted(found)


def _chunks(files: list[Path], rows: int) -> Iterator[_Chunk]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        start = 0
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=rows):
                yield _Chunk(file, start, pa.Table.from_batches([batch]))
                start += batch.num_rows
            if not start:  # an empty file has its columns to be judged all the same
                yield _Chunk(file, 0, parquet.schema_arrow.empty_table())


def _judged(chunk: _Chunk, frame: Any, schema: Any) -> Split[Any]:
    """The two parts of a chunk, its rows numbered as in the file."""
    parts = split(frame, schema)
    report = parts.report
    if report.frame_errors:
        raise ValueError(f"{_name(chunk)}: {'; '.join(report.frame_errors)}")
    numbered = tuple(replace(finding, positions=finding.positions + chunk.start) for finding in report.findings)
    return replace(parts, report=Report(report.rows, report.invalid, (), numbered))


def _name(chunk: _Chunk) -> str:
    return f"{chunk.file}, rows {chunk.start:,} to {chunk.start + chunk.table.num_rows - 1:,}"


def _keeper(
    quarantine: Quarantine | str | os.PathLike[str] | None, operation: str, version: str
) -> Callable[[_Chunk, Split[Any]], None]:
    if quarantine is None:
        return lambda _chunk, _parts: None
    store = quarantine if isinstance(quarantine, Quarantine) else Quarantine(quarantine)

    def keep(chunk: _Chunk, parts: Split[Any]) -> None:
        # The same chunk of the same file has the same id in the next run, and replaces its batch.
        digest = hashlib.sha256(os.fsencode(chunk.file.resolve())).hexdigest()[:8]
        batch = f"{chunk.file.stem}-{digest}-{chunk.start:012}"
        store.write(parts, operation=operation, batch=batch, schema=version, context={"source": str(chunk.file)})

    return keep


def _converter(kind: str | None, files: list[Path]) -> Callable[[pa.Table], Any]:
    if kind == "polars":
        import polars as pl

        return pl.from_arrow
    nulls = _integers_with_nulls(files)

    def to_pandas(table: pa.Table) -> Any:
        import pyarrow as pa

        for name in nulls & set(table.column_names):
            at = table.column_names.index(name)
            table = table.set_column(at, name, table.column(at).cast(pa.float64()))
        return table.to_pandas(split_blocks=True)

    return to_pandas


def _integers_with_nulls(files: list[Path]) -> set[str]:
    """Columns that pandas reads as floats when it reads all rows: then each chunk has to be read so."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    found = set()
    for file in files:
        footer, types = pq.read_metadata(file), pq.read_schema(file)
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                name, facts = column.path_in_schema, column.statistics
                whole = name in types.names and pa.types.is_integer(types.field(name).type)
                if whole and (facts is None or facts.null_count):
                    found.add(name)
    return found


@contextmanager
def _writer(target: Path) -> Iterator[Callable[[Any], int]]:
    """Append frames to a file that takes the target's name when all is written and on the disk."""
    import pyarrow.parquet as pq

    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{uuid.uuid4().hex}.tmp"
    writers: list[Any] = []

    def write(frame: Any) -> int:
        table = _arrow(frame)
        if not writers:
            writers.append(pq.ParquetWriter(temporary, table.schema))
        writers[0].write_table(table.cast(writers[0].schema))
        return int(table.num_rows)

    try:
        yield write
        writers[0].close()
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        for writer in writers:
            writer.close()
        temporary.unlink(missing_ok=True)


def _arrow(frame: Any) -> pa.Table:
    import pyarrow as pa

    table = frame.to_arrow() if hasattr(frame, "to_arrow") else pa.Table.from_pandas(frame, preserve_index=False)
    # A column of nothing but nulls has no type yet; text it is, as most such columns are.
    fields = [field.with_type(pa.string()) if pa.types.is_null(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields)).replace_schema_metadata(None)


@contextmanager
def _bar(total: int, *, wanted: bool | None) -> Iterator[Callable[[int], None]]:
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda _rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda rows: bar.advance(task, rows)
