# ruff: noqa: PLC0415 - pyarrow loads on first use
"""One batch of bad rows as a Parquet file, and back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from resilient_tasks.data._arrow import PREFIX, RECORDS, Shape, columns_of, part_labels, stored
from resilient_tasks.data._arrow_columns import cells, rows_at
from resilient_tasks.data._reasons import bad_rows, told, written
from resilient_tasks.redaction.redact import redact

if TYPE_CHECKING:
    from resilient_tasks.data.split import Split

ROW = f"{PREFIX}row"
"""The column of a file, and of a table to correct, that says which row of its batch each one is."""

COLUMNS = ("row", "reasons", "values", "operation", "batch", "schema", "quarantined_at", "released")
_FORMAT = 2
_KEY = b"resilient_tasks.quarantine"
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")
_NAME_LENGTH = 100


class QuarantineError(OSError):
    """The quarantine could not be written or read. The sentence names the path and the cause."""


@dataclass(frozen=True)
class Part:
    """Rows of one file.

    Attributes:
        table: The rows as stored, of Arrow.
        facts: What holds for the file as a whole.
    """

    table: Any
    facts: Mapping[str, Any]

    @property
    def shape(self) -> Shape:
        """What makes a frame of the rows again."""
        shape: Shape = self.facts["shape"]
        return shape

    @property
    def rows(self) -> list[int]:
        """Each row's number."""
        numbers: list[int] = self.table[ROW].to_pylist()
        return numbers

    def take(self, positions: Sequence[int]) -> Part:
        """The rows at these positions, from 0."""
        return Part(rows_at(self.table, positions), self.facts)

    def decoded(self) -> list[dict[str, Any]]:
        """Each row: its number, its reasons and its values as read, and the ids."""
        columns = columns_of(self.table, self.shape, self.rows)
        labels = part_labels(self.shape)
        records = self.shape["library"] == RECORDS
        values = columns[0] if records else [dict(zip(labels, row, strict=True)) for row in zip(*columns, strict=True)]
        reasons = told(self.table, self.shape, columns)
        ids = {name: self.table[f"{PREFIX}{name}"].to_pylist() for name in self.facts["ids"]}
        return [
            {"row": row, "reasons": reasons[at], "values": values[at] if values else {}}
            | {name: texts[at] for name, texts in ids.items()}
            for at, row in enumerate(self.rows)
        ]

    def digests(self) -> list[str]:
        """A digest of each row's values as read, by which it is known again."""
        columns = [cells(self.table[part["name"]]) for part in self.shape["parts"]]
        names = json.dumps([part["label"] for part in self.shape["parts"]])
        rows = zip(*columns, strict=True) if columns else [()] * self.table.num_rows
        return [
            hashlib.blake2b(f"{names}{row!r}".encode("utf-8", "replace"), digest_size=8).hexdigest() for row in rows
        ]


def encoded(split: Split[Any], common: Mapping[str, str]) -> bytes:
    """The bad rows of a split as a file.

    Args:
        split: What `split()` returned.
        common: A column of text each, the same in every row.
    """
    import pyarrow as pa

    rows = bad_rows(split.report)
    table, shape = stored(split.bad, rows)
    columns = {ROW: pa.array(rows, pa.int64()), **written(split.report, rows, shape)}
    first = pa.array([0] * len(rows), pa.int8())
    for name, text in common.items():
        columns[f"{PREFIX}{name}"] = pa.DictionaryArray.from_arrays(first, pa.array([text], pa.string()))
    return parquet(beside(columns, table), {**common, "ids": list(common), "shape": shape})


def beside(columns: Mapping[str, Any], table: Any) -> Any:
    """The library's own columns, and those of a frame as stored, as one table."""
    import pyarrow as pa

    arrays, names = [*columns.values(), *table.columns], [*columns, *table.column_names]
    return pa.Table.from_arrays(arrays, names=names)


def parquet(table: Any, facts: Mapping[str, Any]) -> bytes:
    """An Arrow table, and what holds for it as a whole, as the content of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = json.dumps({"format": _FORMAT, **facts})
    # Numbers seldom repeat: to look for those that do takes most of the time that a write takes.
    repeated = [field.name for field in table.schema if "string" in str(field.type)]
    buffer = pa.BufferOutputStream()
    table = table.replace_schema_metadata({_KEY: text})
    # Nor are there row groups to choose from by their statistics: a batch is read whole.
    pq.write_table(table, buffer, use_dictionary=repeated or False, write_statistics=False)
    content: bytes = buffer.getvalue().to_pybytes()
    return content


def read(file: IO[bytes], name: object) -> Part:
    """The rows of a file.

    Raises:
        QuarantineError: If it is not a file of a quarantine, or not one of this format.
    """
    import pyarrow.parquet as pq

    facts, _ = facts_of(file, name)
    file.seek(0)
    # A pool of threads that read from Python may abort the process, if that ends soon: the command line does.
    return Part(pq.read_table(file, use_threads=False), facts)


def facts_of(file: IO[bytes], name: object) -> tuple[dict[str, Any], int]:
    """What holds for a file as a whole, and its number of rows.

    Raises:
        QuarantineError: If it is not a file of a quarantine, or not one of this format.
    """
    import pyarrow.parquet as pq

    footer = pq.read_metadata(file)
    found = footer.metadata or {}
    if _KEY not in found and b"quarantined_at" not in found:
        raise QuarantineError(f"{name} was not written by a quarantine: it lacks the metadata {_KEY.decode()!r}")
    facts: dict[str, Any] = json.loads(found.get(_KEY, b'{"format": 1}'))
    if facts["format"] != _FORMAT:
        other = f"{name} has format {facts['format']}, and this version of resilient_tasks reads format {_FORMAT}"
        raise QuarantineError(f"{other}: replay it with the version of the library that wrote it")
    return facts, footer.num_rows


def sample(file: IO[bytes], name: object, rows: int) -> list[dict[str, Any]]:
    """The first rows of a file, decoded."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    facts, _ = facts_of(file, name)
    file.seek(0)
    first = next(pq.ParquetFile(file).iter_batches(batch_size=rows, use_threads=False))
    return Part(pa.Table.from_batches([first]), facts).decoded()


def safe(name: str) -> str:
    """A file name that is legal everywhere, and differs where the names differ."""
    text = str(name)
    legal = _UNSAFE.sub("-", text)[:_NAME_LENGTH].lstrip(".-").rstrip(".")
    if text and legal == text and text == text.lower():
        return text
    # The digest also keeps "Jan" and "jan" apart where the file system does not.
    return f"{legal}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")


@contextmanager
def explained(doing: str, advice: str = "") -> Iterator[None]:
    """Turn what the disk, the store or the Parquet reader says into one error with a sentence, and advice after it."""
    import pyarrow as pa

    try:
        yield
    except QuarantineError:
        raise
    except (OSError, pa.ArrowException, ImportError) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        told = redact(f"{doing}: {cause}").rstrip(".")  # a folder's URL may hold credentials
        sentence = QuarantineError(f"{told}. {advice}".rstrip())
        sentence.errno = getattr(error, "errno", None)
        raise sentence from error
