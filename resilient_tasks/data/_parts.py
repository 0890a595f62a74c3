# ruff: noqa: PLC0415 - pyarrow loads on first use
"""One batch of bad rows as a Parquet file, and back."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from resilient_tasks.core.redact import redact
from resilient_tasks.data._redaction import without_secrets
from resilient_tasks.data._rows import library_of, shape_of, to_texts
from resilient_tasks.data._values import dumps, loads, texts
from resilient_tasks.data.ledger import parquet

if TYPE_CHECKING:
    from resilient_tasks.data.split import Report, Split

COLUMNS = ("row", "reasons", "values", "operation", "batch", "schema", "quarantined_at", "released")
_FACTS = ("operation", "batch", "schema", "quarantined_at")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")
_NAME_LENGTH = 100


class QuarantineError(OSError):
    """The quarantine could not be written or read. The sentence names the path and the cause."""


def encoded(split: Split[Any], common: Mapping[str, str]) -> bytes:
    """The bad rows of a split as a file. Text and whole numbers only: a scan over files meets no column of mixed type.

    Args:
        split: What `split()` returned.
        common: A column of text each, the same in every row.
    """
    import pyarrow as pa

    reasons = reason_texts(split.report)
    columns = {
        "row": pa.array(list(reasons), pa.int64()),
        "reasons": pa.array(list(reasons.values()), pa.string()),
        "values": pa.array(to_texts(split.bad), pa.string()),
        **{name: pa.array([value] * len(reasons), pa.string()) for name, value in common.items()},
    }
    facts = {name: common[name] for name in _FACTS}
    facts |= {"library": library_of(split.bad), "shape": shape_of(split.bad)}
    return parquet(pa.table(columns).replace_schema_metadata(facts))


def facts_of(file: IO[bytes], name: object) -> tuple[dict[str, str], int]:
    """What holds for a file as a whole, and its number of rows.

    Raises:
        QuarantineError: If it is not a file of a quarantine.
    """
    import pyarrow.parquet as pq

    footer = pq.read_metadata(file)
    facts = {key.decode(): value.decode() for key, value in (footer.metadata or {}).items() if key != b"ARROW:schema"}
    if missing := [fact for fact in _FACTS if fact not in facts]:
        raise QuarantineError(f"{name} was not written by a quarantine: it does not say its {missing[0]!r}")
    return facts, footer.num_rows


def sample(file: IO[bytes], rows: int) -> list[dict[str, Any]]:
    """The first rows of a file, decoded."""
    import pyarrow.parquet as pq

    kept = next(pq.ParquetFile(file).iter_batches(batch_size=rows, use_threads=False)).to_pylist()
    return [{**row, "reasons": loads(row["reasons"]), "values": loads(row["values"])} for row in kept]


def reason_texts(report: Report) -> dict[int, str]:
    """Each bad row's position, ascending, and its reasons as JSON text: the first value, where a rule failed twice.

    Reasons are read, and shown in reports: secrets are blotted out of them. The row itself stays as it was read.
    """
    reasons: dict[int, dict[str, str]] = {}
    for finding in report.findings:
        rule = f'{{"column": {dumps(finding.column)}, "check": {dumps(redact(finding.check))}, "value": '
        values = without_secrets(finding.column, finding.values)
        for position, value in zip(finding.positions.tolist(), texts(values), strict=True):
            reasons.setdefault(position, {}).setdefault(rule, value)
    return {
        position: f"[{', '.join(f'{rule}{value}}}' for rule, value in reasons[position].items())}]"
        for position in sorted(reasons)
    }


def safe(name: str) -> str:
    """A file name that is legal everywhere, and differs where the names differ."""
    text = str(name)
    legal = _UNSAFE.sub("-", text)[:_NAME_LENGTH].lstrip(".-").rstrip(".")
    if text and legal == text and text == text.lower():
        return text
    # The digest also keeps "Jan" and "jan" apart where the file system does not.
    return f"{legal}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Turn what the disk, the store or the Parquet reader says into one error with a sentence."""
    import pyarrow as pa

    try:
        yield
    except QuarantineError:
        raise
    except (OSError, pa.ArrowException, ImportError) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        told = redact(f"{doing}: {cause}")  # a folder's URL may hold credentials
        sentence = QuarantineError(f"{told}. Check that the disk has room and the path is accessible.")
        sentence.errno = getattr(error, "errno", None)
        raise sentence from error
