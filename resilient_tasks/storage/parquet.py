# ruff: noqa: PLC0415 - pyarrow loads on first use
"""An Arrow table with facts about it as a Parquet file, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import IO, Any

_FORMAT = 2
_KEY = b"resilient_tasks.quarantine"


class FormatError(OSError):
    """The file was written by another program, or in another format."""


def encode(table: Any, facts: Mapping[str, Any]) -> bytes:
    """Return the content of a Parquet file: an Arrow table, and facts about the whole of it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps({"format": _FORMAT, **facts})
    # Looking for repeated numbers takes most of the time of a write, and they seldom repeat.
    repeated = [field.name for field in table.schema if "string" in str(field.type)]
    buffer = pa.BufferOutputStream()
    table = table.replace_schema_metadata({_KEY: text})
    # A file is read whole, so statistics by row group are of no use.
    pq.write_table(table, buffer, use_dictionary=repeated or False, write_statistics=False)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def decode(file: IO[bytes], name: object) -> tuple[Any, dict[str, Any]]:
    """Return the table and the facts of a file.

    Raises:
        FormatError: If another program wrote it, or it has another format.
    """
    import pyarrow.parquet as pq

    facts, _ = read_facts(file, name)
    file.seek(0)
    # Threads of Arrow that read from Python can abort a process that ends soon, as the command line does.
    return pq.read_table(file, use_threads=False), facts


def read_facts(file: IO[bytes], name: object) -> tuple[dict[str, Any], int]:
    """Return the facts of a file and its number of rows, without reading the rows.

    Raises:
        FormatError: As `decode` does.
    """
    import pyarrow.parquet as pq

    footer = pq.read_metadata(file)
    found = footer.metadata or {}
    if _KEY not in found and b"quarantined_at" not in found:
        raise FormatError(f"{name} was not written by a quarantine: it lacks the metadata {_KEY.decode()!r}")
    facts: dict[str, Any] = json.loads(found.get(_KEY, b'{"format": 1}'))
    if facts["format"] != _FORMAT:
        other = f"{name} has format {facts['format']}, and this version of resilient_tasks reads format {_FORMAT}"
        raise FormatError(f"{other}: replay it with the version of the library that wrote it")
    return facts, footer.num_rows


def decode_first(file: IO[bytes], name: object, rows: int) -> tuple[Any, dict[str, Any]]:
    """Return the first rows of a file and its facts; no more rows are decoded.

    Raises:
        FormatError: As `decode` does.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts, _ = read_facts(file, name)
    file.seek(0)
    first = next(pq.ParquetFile(file).iter_batches(batch_size=rows, use_threads=False))
    return pa.Table.from_batches([first]), facts
