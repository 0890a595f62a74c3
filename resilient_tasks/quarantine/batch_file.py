# ruff: noqa: PLC0415 - pyarrow loads on first use
"""One batch of bad rows as a Parquet file, and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.redaction.redact import redact
from resilient_tasks.storage import parquet
from resilient_tasks.storage.arrow import PREFIX, RECORDS, Shape, cells, columns_of, part_labels, rows_at, stored
from resilient_tasks.storage.parquet import FormatError
from resilient_tasks.storage.values import decode, dumps, loads, texts
from resilient_tasks.validation.backend import Rule, bad_positions, combinations, without_secrets

if TYPE_CHECKING:
    from resilient_tasks.validation.backend import Finding
    from resilient_tasks.validation.split import Report, Split


REASONS, VALUES = f"{PREFIX}reasons", f"{PREFIX}values"


def written(report: Report, rows: Any, shape: Shape) -> dict[str, Any]:
    """The reasons as columns of Arrow.

    Args:
        report: What the split found.
        rows: What `bad_rows` returned for it.
        shape: Of the rows: which of the values that failed lie in them.
    """
    import pyarrow as pa

    rules = list(dict.fromkeys(map(_rule, report.findings)))
    numbers, broken = combinations(report.findings, rows, rules, _rule)
    sets = [json.dumps([{"column": column, "check": check} for column, check in rules]) for rules in broken]
    columns = {REASONS: pa.DictionaryArray.from_arrays(pa.array(numbers.astype("int32")), pa.array(sets, pa.string()))}
    elsewhere = [finding for finding in report.findings if finding.read and finding.column not in places_of(shape)]
    if elsewhere:
        columns[VALUES] = pa.array(_values(elsewhere, rows), pa.string())
    return columns


def rules_of(table: Any) -> list[list[Rule]]:
    """For each row, the rules that it failed."""
    column = table[REASONS].combine_chunks()
    sets = [[(rule["column"], rule["check"]) for rule in json.loads(text)] for text in column.dictionary.to_pylist()]
    return [sets[code] for code in column.indices.to_pylist()]


def told(table: Any, shape: Shape, columns: Sequence[list[Any]]) -> list[list[dict[str, Any]]]:
    """For each row its reasons, as dicts of `column`, `check` and `value`.

    Args:
        table: The rows as stored.
        shape: Their shape.
        columns: Their values, as `columns_of` returns them.
    """
    places, failed = places_of(shape), rules_of(table)
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


def reason_texts(report: Report) -> dict[int, str]:
    """Each bad row's position, ascending, and its reasons as JSON text, their values too.

    For rows whose cells are not kept beside their reasons. The first value counts where a rule failed twice.
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


def told_texts(reasons: Sequence[Any]) -> str:
    """One row's reasons as JSON text, their values too."""
    return dumps([
        {"column": reason.column, "check": reason.check, "value": without_secrets(reason.column, [reason.value])[0]}
        for reason in reasons
    ])  # fmt: skip


def places_of(shape: Shape) -> dict[str, int]:
    """Which part of a row a reason's column is, where its name says so for certain."""
    names = part_names(shape)
    return {} if shape["library"] == RECORDS else {name: names.index(name) for name in names if names.count(name) == 1}


def part_names(shape: Shape) -> list[str]:
    """Each part's name, as reasons call it."""
    return [str(decode(part["label"])) for part in shape["parts"]]


def _rule(finding: Finding) -> Rule:
    return finding.column, redact(finding.check)


def _values(findings: Sequence[Finding], rows: Any) -> list[str | None]:
    """For each row the values that lie nowhere in it: a field deep in a record, or one of two columns of a name."""
    values: list[dict[Rule, Any]] = [{} for _ in rows]
    for finding in findings:
        rule = _rule(finding)
        found = without_secrets(finding.column, finding.values)
        for place, value in zip(np.searchsorted(rows, finding.positions).tolist(), found, strict=True):
            values[place].setdefault(rule, value)
    return [dumps([[*rule, value] for rule, value in row.items()]) if row else None for row in values]


ROW = f"{PREFIX}row"
"""The column of a file, and of a table to correct, that says which row of its batch each one is."""

COLUMNS = ("row", "reasons", "values", "operation", "batch", "schema", "quarantined_at", "released")


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

    @classmethod
    def read(cls, file: IO[bytes], name: object) -> Part:
        """Return the rows of a file.

        Raises:
            FormatError: If it is not a file of a quarantine, or not one of this format.
        """
        return cls(*parquet.decode(file, name))

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

    rows = bad_positions(split.report.findings)
    table, shape = stored(split.bad, rows)
    columns = {ROW: pa.array(rows, pa.int64()), **written(split.report, rows, shape)}
    first = pa.array([0] * len(rows), pa.int8())
    for name, text in common.items():
        columns[f"{PREFIX}{name}"] = pa.DictionaryArray.from_arrays(first, pa.array([text], pa.string()))
    return parquet.encode(beside(columns, table), {**common, "ids": list(common), "shape": shape})


def beside(columns: Mapping[str, Any], table: Any) -> Any:
    """The library's own columns, and those of a frame as stored, as one table."""
    import pyarrow as pa

    arrays, names = [*columns.values(), *table.columns], [*columns, *table.column_names]
    return pa.Table.from_arrays(arrays, names=names)


@contextmanager
def explained(doing: str, advice: str = "") -> Iterator[None]:
    """Turn what the disk, the store or the Parquet reader says into one error with a sentence, and advice after it."""
    import pyarrow as pa

    try:
        yield
    except QuarantineError:
        raise
    except FormatError as error:
        raise QuarantineError(str(error)) from error
    except (OSError, pa.ArrowException, ImportError) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        told = redact(f"{doing}: {cause}").rstrip(".")  # a folder's URL may hold credentials
        sentence = QuarantineError(f"{told}. {advice}".rstrip())
        sentence.errno = getattr(error, "errno", None)
        raise sentence from error
