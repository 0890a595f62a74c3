# ruff: noqa: PLC0415 - the progress bar loads on first use
"""Split Parquet data larger than memory, chunk by chunk."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resilient_tasks.chunks.rules import check_rowwise
from resilient_tasks.chunks.source import Chunk, Sources, converter, naming
from resilient_tasks.chunks.target import types_of, writer
from resilient_tasks.core.wording import number_of
from resilient_tasks.quarantine.quarantine import Quarantine
from resilient_tasks.validation.report import Report, Split
from resilient_tasks.validation.schemas import as_schema, fingerprint, library
from resilient_tasks.validation.split import split


@dataclass(frozen=True)
class ChunksReport:
    """The totals of a split by chunks.

    Attributes:
        rows: Rows read.
        invalid: Bad rows.
        reasons: Rows for each (column, check), most frequent first.
        chunks: The number of chunks.
        warned: Rows for each (column, check) that only warns, most frequent first. These rows are good.
    """

    rows: int
    invalid: int
    reasons: Mapping[tuple[str, str], int]
    chunks: int
    warned: Mapping[tuple[str, str], int] = field(default_factory=dict)

    @property
    def good(self) -> int:
        """Rows that were written to the target."""
        return self.rows - self.invalid


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
    """Split Parquet data by a schema. Memory use depends on the chunk size, not on the data.

    The target is written atomically, after all bad rows are in the quarantine. After a kill, run it again with the same
    arguments: it replaces what the first run left.

    Args:
        source: A Parquet file, a folder of `*.parquet` files (with its subfolders), or a pattern such as
            `"data/2013-*.parquet"`. Columns are matched by name; files without rows are ignored. The keys of
            subfolders (`year=2013`) are columns.
        schema: A pandera schema or model, for pandas or polars.
        good: The Parquet file for the good rows, as the schema returns them; replaced if it exists. A pandas index is
            kept, unless it is the row numbers from 0.
        quarantine: Where to keep the bad rows, one batch per chunk. None drops and counts them.
        operation: The name of the data in the quarantine.
        rows: The maximum number of rows in a chunk.
        progress: Whether to show a progress bar on standard error; None: if that is a terminal.

    Returns:
        The totals. Rows read always equal good rows written plus bad rows.

    Raises:
        FileNotFoundError: If there is nothing at `source`.
        ValueError: If the schema has a rule over several rows (uniqueness, or a check that may look at other rows), if
            a file cannot be read or its columns or types differ from the others', if a chunk has frame errors, or
            if `good` is among the sources. The file is named, and `good` is unchanged.
        QuarantineError: If bad rows cannot be stored.
    """
    if type(rows) is not int or rows < 1:
        raise ValueError(f"split_parquet(rows=...) is a number of rows from 1 up, not {rows!r}")
    built, target, sources = as_schema(schema), Path(good), Sources.at(source)
    if target.resolve() in {file.resolve() for file in sources.files}:
        raise ValueError(f"{target} is one of the files to read; write the good rows elsewhere.")
    kind = library(schema)
    has_index = kind == "pandas" and sources.index.exists
    check_rowwise(built, kind, sources.types, has_index=has_index)
    keep = _batch_writer(quarantine, operation, fingerprint(schema))
    convert = converter(kind, sources)
    nothing = split(convert(Chunk(sources.files[0], 0, sources.types.empty_table())), built)
    if nothing.report.frame_errors:
        raise ValueError(f"{sources.files[0]}: {'; '.join(nothing.report.frame_errors)}")
    types = types_of(nothing.good, built, sources.types, keeps_index=has_index)
    read, invalid, chunks, reasons, warned = 0, 0, 0, Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    with _progress_bar(sources.rows, wanted=progress) as advance, writer(target, types) as write:
        for chunk in sources.chunks(rows):
            parts = _split_chunk(chunk, convert, built)
            keep(chunk, parts)
            with naming(chunk):
                written = write(parts.good)
            if written + parts.report.invalid != chunk.table.num_rows:
                there = number_of(chunk.table.num_rows, "row")
                raise RuntimeError(f"{chunk}: {there} read, {written:,} good ones written")
            read, invalid, chunks = read + chunk.table.num_rows, invalid + parts.report.invalid, chunks + 1
            reasons.update(parts.report.reasons)
            warned.update(parts.report.warned)
            advance(chunk.table.num_rows)
        if read != sources.rows:
            raise RuntimeError(f"{source} has {number_of(sources.rows, 'row')} by its metadata, and {read:,} were read")
    return ChunksReport(read, invalid, dict(reasons.most_common()), chunks, dict(warned.most_common()))


def _split_chunk(chunk: Chunk, convert: Callable[[Chunk], Any], schema: Any) -> Split[Any]:
    """Split a chunk, with its rows numbered as in the file."""
    parts = split(convert(chunk), schema)
    report = parts.report
    if report.frame_errors:
        raise ValueError(f"{chunk}: {'; '.join(report.frame_errors)}")
    findings, warnings = (
        tuple(replace(finding, positions=finding.positions + chunk.start) for finding in found)
        for found in (report.findings, report.warnings)
    )
    return replace(parts, report=Report(report.rows, report.invalid, (), findings, warnings))


def _batch_writer(
    quarantine: Quarantine | str | os.PathLike[str] | None, operation: str, version: str
) -> Callable[[Chunk, Split[Any]], None]:
    if quarantine is None:
        return lambda _chunk, _parts: None
    store = quarantine if isinstance(quarantine, Quarantine) else Quarantine(quarantine)

    def keep(chunk: Chunk, parts: Split[Any]) -> None:
        # In the next run, the same chunk of the same file has the same id and replaces its batch.
        digest = hashlib.sha256(os.fsencode(chunk.file.resolve())).hexdigest()[:8]
        batch = f"{chunk.file.stem}-{digest}-{chunk.start:012}"
        store.write(parts, operation=operation, batch=batch, schema=version, context={"source": str(chunk.file)})

    return keep


@contextmanager
def _progress_bar(total: int, *, wanted: bool | None) -> Iterator[Callable[[int], None]]:
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda _rows: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("rows", total=total)
        yield lambda rows: bar.advance(task, rows)
