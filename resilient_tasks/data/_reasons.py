# ruff: noqa: PLC0415 - pyarrow loads on first use
"""Why each row is bad: each combination of rules is written once, and the values that failed lie in the rows already.

Reasons are read, and shown in reports: secrets are blotted out of them. The rows themselves stay as they were read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._arrow import PREFIX, RECORDS, Shape
from resilient_tasks.data._redaction import without_secrets
from resilient_tasks.data._values import decode, dumps, loads, texts
from resilient_tasks.redaction.redact import redact

if TYPE_CHECKING:
    from resilient_tasks.data._backend import Finding
    from resilient_tasks.data.split import Report

REASONS, VALUES = f"{PREFIX}reasons", f"{PREFIX}values"
_BITS = 32  # rules looked at together; the combinations so far need the other bits of an integer

Rule = tuple[str, str]
_NONE: list[tuple[Rule, ...]] = [()]


def bad_rows(report: Report) -> Any:
    """The positions of the bad rows, ascending, as an array."""
    if not report.findings:
        return np.array([], dtype=np.int64)
    first = min(int(finding.positions[0]) for finding in report.findings)  # of a chunk, far from 0
    last = max(int(finding.positions[-1]) for finding in report.findings)
    bad = np.zeros(last + 1 - first, dtype=bool)
    for finding in report.findings:
        bad[finding.positions - first] = True
    return np.flatnonzero(bad) + first


def written(report: Report, rows: Any, shape: Shape) -> dict[str, Any]:
    """The reasons as columns of Arrow.

    Args:
        report: What the split found.
        rows: What `bad_rows` returned for it.
        shape: Of the rows: which of the values that failed lie in them.
    """
    import pyarrow as pa

    rules = list(dict.fromkeys(map(_rule, report.findings)))
    first = int(rows[0]) if len(rows) else 0
    places = np.zeros(int(rows[-1]) + 1 - first if len(rows) else 0, dtype=np.intp)
    places[rows - first] = np.arange(len(rows))
    code, broken = np.zeros(len(rows), dtype=np.int64), _NONE
    for begin in range(0, len(rules), _BITS):
        some = rules[begin : begin + _BITS]
        code <<= len(some)
        for finding in report.findings:
            if (rule := _rule(finding)) in some:
                code[places[finding.positions - first]] |= 1 << some.index(rule)
        numbers, code = np.unique(code, return_inverse=True)
        broken = [
            (*broken[number >> len(some)], *(rule for at, rule in enumerate(some) if number >> at & 1))
            for number in numbers.tolist()
        ]
    sets = [json.dumps([{"column": column, "check": check} for column, check in rules]) for rules in broken]
    columns = {REASONS: pa.DictionaryArray.from_arrays(pa.array(code.astype("int32")), pa.array(sets, pa.string()))}
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
