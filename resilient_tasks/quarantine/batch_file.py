# ruff: noqa: PLC0415 - pyarrow loads on first use
"""A batch of bad rows as a Parquet file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.redaction.text import redact
from resilient_tasks.storage import parquet
from resilient_tasks.storage.arrow import (
    PREFIX,
    RECORDS,
    Shape,
    column_values,
    comparable_values,
    part_labels,
    take,
    to_arrow,
)
from resilient_tasks.storage.parquet import FormatError
from resilient_tasks.storage.values import decode, dumps, loads, texts
from resilient_tasks.validation.backend import Rule, bad_positions, combinations, without_secrets

if TYPE_CHECKING:
    from resilient_tasks.validation.backend import Finding
    from resilient_tasks.validation.report import Report, Split

REASONS, VALUES = f"{PREFIX}reasons", f"{PREFIX}values"

ROW = f"{PREFIX}row"
"""The column with each row's number in its batch, in files and in tables to correct."""
COLUMNS = ("row", "reasons", "values", "operation", "batch", "schema", "quarantined_at", "released")


class QuarantineError(OSError):
    """The quarantine could not be written or read. The message names the path and the cause."""


@dataclass(frozen=True)
class Part:
    """Rows of one file.

    Attributes:
        table: The stored rows, as an Arrow table.
        facts: Facts about the whole file.
    """

    table: Any
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, file: IO[bytes], name: object) -> Part:
        """Return the rows of a file.

        Raises:
            FormatError: If it is not a quarantine's file, or has another format.
        """
        return cls(*parquet.decode(file, name))

    @property
    def shape(self) -> Shape:
        """The shape from which the frame is restored."""
        shape: Shape = self.facts["shape"]
        return shape

    @property
    def rows(self) -> list[int]:
        """Each row's number."""
        numbers: list[int] = self.table[ROW].to_pylist()
        return numbers

    def take(self, positions: Sequence[int]) -> Part:
        """Return the rows at these positions, from 0."""
        return Part(take(self.table, positions), self.facts)

    def decoded(self) -> list[dict[str, Any]]:
        """Return each row's number, reasons, values as read, and ids."""
        columns = column_values(self.table, self.shape, self.rows)
        labels = part_labels(self.shape)
        records = self.shape["library"] == RECORDS
        values = columns[0] if records else [dict(zip(labels, row, strict=True)) for row in zip(*columns, strict=True)]
        reasons = decode_reasons(self.table, self.shape, columns)
        ids = {name: self.table[f"{PREFIX}{name}"].to_pylist() for name in self.facts["ids"]}
        return [
            {"row": row, "reasons": reasons[at], "values": values[at] if values else {}}
            | {name: texts[at] for name, texts in ids.items()}
            for at, row in enumerate(self.rows)
        ]

    def digests(self) -> list[str]:
        """Return a digest of each row's values as read, which identifies the row."""
        columns = [comparable_values(self.table[part["name"]]) for part in self.shape["parts"]]
        names = json.dumps([part["label"] for part in self.shape["parts"]])
        rows = zip(*columns, strict=True) if columns else [()] * self.table.num_rows
        return [
            hashlib.blake2b(f"{names}{row!r}".encode("utf-8", "replace"), digest_size=8).hexdigest() for row in rows
        ]


def encode_batch(split: Split[Any], common: Mapping[str, str]) -> bytes:
    """Encode the bad rows of a split as a file.

    Args:
        split: What `split()` returned.
        common: Text columns with the same value in every row.
    """
    import pyarrow as pa

    rows = bad_positions(split.report.findings)
    table, shape = to_arrow(split.bad, rows)
    columns = {ROW: pa.array(rows, pa.int64()), **reason_columns(split.report, rows, shape)}
    first = pa.array([0] * len(rows), pa.int8())
    for name, text in common.items():
        columns[f"{PREFIX}{name}"] = pa.DictionaryArray.from_arrays(first, pa.array([text], pa.string()))
    return parquet.encode(join_columns(columns, table), {**common, "ids": list(common), "shape": shape})


def join_columns(columns: Mapping[str, Any], table: Any) -> Any:
    """Join the library's own columns and those of a stored frame in one table."""
    import pyarrow as pa

    arrays, names = [*columns.values(), *table.columns], [*columns, *table.column_names]
    return pa.Table.from_arrays(arrays, names=names)


@contextmanager
def errors_explained(doing: str, advice: str = "") -> Iterator[None]:
    """Raise errors of the disk, the store or Parquet as a QuarantineError with a message and advice."""
    import pyarrow as pa

    try:
        yield
    except QuarantineError:
        raise
    except FormatError as error:
        raise QuarantineError(str(error)) from error
    except (OSError, pa.ArrowException, ImportError) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        text = redact(f"{doing}: {cause}").rstrip(".")  # a folder's URL may hold credentials
        explained = QuarantineError(f"{text}. {advice}".rstrip())
        explained.errno = getattr(error, "errno", None)
        raise explained from error


def reason_columns(report: Report, rows: Any, shape: Shape) -> dict[str, Any]:
    """Return the reasons as Arrow columns.

    Args:
        report: The split's report.
        rows: The positions of the bad rows.
        shape: The rows' shape, which says which failed values the rows hold themselves.
    """
    import pyarrow as pa

    rules = list(dict.fromkeys(map(_rule, report.findings)))
    numbers, broken = combinations(report.findings, rows, rules, _rule)
    sets = [json.dumps([{"column": column, "check": check} for column, check in rules]) for rules in broken]
    columns = {REASONS: pa.DictionaryArray.from_arrays(pa.array(numbers.astype("int32")), pa.array(sets, pa.string()))}
    elsewhere = [
        finding for finding in report.findings if finding.read and finding.column not in positions_by_name(shape)
    ]
    if elsewhere:
        columns[VALUES] = pa.array(_values(elsewhere, rows), pa.string())
    return columns


def rules_of(table: Any) -> list[list[Rule]]:
    """Return the rules that each row broke."""
    column = table[REASONS].combine_chunks()
    sets = [[(rule["column"], rule["check"]) for rule in json.loads(text)] for text in column.dictionary.to_pylist()]
    return [sets[code] for code in column.indices.to_pylist()]


def decode_reasons(table: Any, shape: Shape, columns: Sequence[list[Any]]) -> list[list[dict[str, Any]]]:
    """Return each row's reasons as dicts of `column`, `check` and `value`.

    Args:
        table: The stored rows.
        shape: Their shape.
        columns: Their values, from `column_values`.
    """
    places, failed = positions_by_name(shape), rules_of(table)
    values: dict[tuple[int, Rule], Any] = {}
    of_rule: dict[Rule, list[int]] = {}
    for row, rules in enumerate(failed):
        for rule in rules:
            of_rule.setdefault(rule, []).append(row)
    for rule, rows in of_rule.items():
        if rule[0] in places:
            column = columns[places[rule[0]]]
            cleaned = without_secrets(rule[0], [column[row] for row in rows])
            values.update(zip(((row, rule) for row in rows), cleaned, strict=True))
    if VALUES in table.column_names:
        for row, text in enumerate(table[VALUES].to_pylist()):
            values |= {(row, (column, check)): value for column, check, value in loads(text or "[]")}
    return [
        [{"column": rule[0], "check": rule[1], "value": values.get((row, rule))} for rule in rules]
        for row, rules in enumerate(failed)
    ]


def reasons_json_by_row(report: Report) -> dict[int, str]:
    """Return each bad row's position, ascending, with its reasons and failed values as JSON text.

    For rows that are not stored beside their reasons. If a rule failed twice, the first value counts.
    """
    reasons: dict[int, dict[str, str]] = {}
    for finding in report.findings:
        column, check = _rule(finding)
        rule = f'{{"column": {dumps(column)}, "check": {dumps(check)}, "value": '
        values = without_secrets(column, finding.values)
        for position, value in zip(finding.positions.tolist(), texts(values), strict=True):
            reasons.setdefault(position, {}).setdefault(rule, value)
    return {
        position: f"[{', '.join(f'{rule}{value}}}' for rule, value in reasons[position].items())}]"
        for position in sorted(reasons)
    }


def reasons_json(reasons: Sequence[Any]) -> str:
    """Return one row's reasons and failed values as JSON text."""
    return dumps([
        {"column": reason.column, "check": reason.check, "value": without_secrets(reason.column, [reason.value])[0]}
        for reason in reasons
    ])  # fmt: skip


def positions_by_name(shape: Shape) -> dict[str, int]:
    """Return the part of a row for each reason's column, if its name is unambiguous."""
    names = part_names(shape)
    return {} if shape["library"] == RECORDS else {name: names.index(name) for name in names if names.count(name) == 1}


def part_names(shape: Shape) -> list[str]:
    """Return each part's name in reasons."""
    return [str(decode(part["label"])) for part in shape["parts"]]


def _rule(finding: Finding) -> Rule:
    return finding.column, redact(finding.check)


def _values(findings: Sequence[Finding], rows: Any) -> list[str | None]:
    """Return the failed values that no cell holds, by row: nested fields, or one of two columns with the same name."""
    values: list[dict[Rule, Any]] = [{} for _ in rows]
    for finding in findings:
        rule = _rule(finding)
        found = without_secrets(finding.column, finding.values)
        for place, value in zip(np.searchsorted(rows, finding.positions).tolist(), found, strict=True):
            values[place].setdefault(rule, value)
    return [dumps([[*rule, value] for rule, value in row.items()]) if row else None for row in values]
