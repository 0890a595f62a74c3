"""Limits on bad rows: in total, by column, by check."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import checks
from resilient_tasks.core.wording import number_of
from resilient_tasks.validation.backend import WHOLE_FRAME, label
from resilient_tasks.validation.schemas import as_schema, library

if TYPE_CHECKING:
    from resilient_tasks.validation.report import Report

#: A column's name, a check's name, both, or `"*"` for all bad rows.
Where: TypeAlias = "str | tuple[str, str]"
Limit: TypeAlias = "float | Mapping[Any, float]"

_ALL = "*"
_SHORT = {
    "eq": "equal_to",
    "ne": "not_equal_to",
    "gt": "greater_than",
    "ge": "greater_than_or_equal_to",
    "lt": "less_than",
    "le": "less_than_or_equal_to",
    "between": "in_range",
}
_OF_EVERY_COLUMN = ("is null", "is duplicated", "is missing", "not a number", "not a date")
_OF_TYPES = ("not coercible to ", "coerce_dtype(", "dtype(")


def check_limits(limits: Any, schemas: Iterable[Any], where: str) -> None:
    """Refuse invalid limits, and limits for columns or checks that the schemas do not have.

    Raises:
        PolicyError: a limit is invalid; the message says what to write instead.
    """
    if not isinstance(limits, Mapping):
        checks.share_or_number(limits, where)
        return
    if not limits:
        raise PolicyError(f"{where} has no limit: give one, such as {{'*': 0.05}}, or leave it out")
    known = [_known(schema) for schema in schemas]
    for key, limit in limits.items():
        checks.share_or_number(limit, f"{where}[{key!r}]")
        if not any(_is_known(key, rules) for rules in known):
            raise PolicyError(f"{where} names {key!r}, {_instead(key, known)}")


def exceeded(limits: Limit, report: Report, schema: Any) -> str:
    """Return which limits a report exceeds, and by how much; empty if none."""
    if not isinstance(limits, Mapping):
        return _excess(limits, report.invalid, report.rows, f"max_invalid={limits}")
    rules = _known(schema)
    return "; ".join(
        text
        for key, limit in limits.items()
        if (text := _excess(limit, _rows(key, report, rules), report.rows, f"max_invalid[{key!r}]={limit}"))
    )


def _excess(limit: float, bad: int, rows: int, named: str) -> str:
    allowed = limit if isinstance(limit, int) else math.floor(Decimal(str(limit)) * rows)
    return f"{number_of(bad - allowed, 'row')} more than {named} allows" if bad > allowed else ""


class _Known(NamedTuple):
    """The columns and checks that a schema names.

    Attributes:
        checks: the names of each column's checks; those of whole rows are under `*`.
        patterns: the columns whose name is a regular expression.
        is_complete: whether `checks` holds every check that can fail.
        nests: whether a column's values have fields, as in records.
    """

    checks: Mapping[str, frozenset[str]]
    patterns: frozenset[str] = frozenset()
    is_complete: bool = True
    nests: bool = False


def _known(schema: Any) -> _Known:
    if library(schema) == "pydantic":
        return _Known(dict.fromkeys(_fields_of(schema), frozenset()), is_complete=False, nests=True)
    built = as_schema(schema)
    found = {str(key): _labels(column) for key, column in built.columns.items()}
    index = getattr(built, "index", None)
    for level in () if index is None else getattr(index, "indexes", (index,)):
        found[str(level.name if level.name is not None else "index")] = _labels(level)
    if built.unique:
        together = built.unique if isinstance(built.unique, list | tuple) else [built.unique]
        found.setdefault(", ".join(map(str, together)), frozenset())
    found[WHOLE_FRAME] = _labels(built)
    return _Known(found, frozenset(str(key) for key, column in built.columns.items() if column.regex))


def _labels(part: Any) -> frozenset[str]:
    named = [(label(check, number), check.name) for number, check in enumerate(part.checks or ())]
    return frozenset(str(name) for both in named for name in both if name is not None)


def _fields_of(model: Any) -> Iterator[str]:
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        yield from (name, *(str(one) for one in getattr(alias, "choices", [alias]) if isinstance(one, str)))


def _is_known(key: Any, rules: _Known) -> bool:
    if key == _ALL or _is_column(key, rules):
        return True
    if isinstance(key, tuple):
        if len(key) != 2 or not (_is_column(key[0], rules) or key[0] == WHOLE_FRAME):
            return False
        return not rules.is_complete or any(_is_check(key[1], name) for name in _checks_of(key[0], rules))
    # A pydantic model does not list its error messages. A key with a space may be one; a single word is a field.
    return any(_is_check(key, name) for names in rules.checks.values() for name in (*names, *_OF_EVERY_COLUMN)) or (
        str(key).startswith(_OF_TYPES) or (not rules.is_complete and " " in str(key))
    )


def _checks_of(column: Any, rules: _Known) -> Iterator[str]:
    yield from () if column == WHOLE_FRAME else _OF_EVERY_COLUMN
    for name, names in rules.checks.items():
        if _matches(column, name, rules) or name == str(column):
            yield from names


def _is_column(key: Any, rules: _Known) -> bool:
    return key != WHOLE_FRAME and any(_matches(key, name, rules) for name in rules.checks if name != WHOLE_FRAME)


def _matches(key: Any, column: str, rules: _Known) -> bool:
    """Return whether a key names a column of a schema."""
    text = str(key)
    if text == column or (rules.nests and re.split(r"[.\[]", text, maxsplit=1)[0] == column):
        return True
    return column in rules.patterns and re.fullmatch(column, text) is not None


def _rows(key: Any, report: Report, rules: _Known) -> int:
    if key == _ALL:
        return report.invalid
    of_column = not isinstance(key, tuple) or _is_column(key, rules)
    column, check = (key, None) if of_column else key
    if of_column and not _is_column(key, rules):
        column, check = None, key
    bad = [
        finding.positions
        for finding in report.findings
        if (column is None or _is_of(column, finding.column, rules))
        and (check is None or _is_check(check, finding.check))
    ]
    return len(np.unique(np.concatenate(bad))) if bad else 0


def _is_of(key: Any, column: str, rules: _Known) -> bool:
    """Return whether a key names the column of a finding."""
    text = str(key)
    if text == column or (rules.nests and column.startswith((f"{text}.", f"{text}["))):
        return True
    return text in rules.patterns and re.fullmatch(text, column) is not None


def _is_check(key: Any, check: str) -> bool:
    """Return whether a key names a check: in full, without arguments, or in pandera's short form."""
    name, bracket, rest = str(key).partition("(")
    full = f"{_SHORT.get(name, name)}{bracket}{rest}"
    return full == check or (not bracket and f"{full}(" == f"{check.partition('(')[0]}(" and "(" in check)


def _instead(key: Any, known: Iterable[_Known]) -> str:
    rules = list(known)
    columns = sorted({name for one in rules for name in one.checks} - {WHOLE_FRAME})
    names = _in_full({name for one in rules for some in one.checks.values() for name in some})
    if isinstance(key, tuple) and len(key) == 2 and any(_is_column(key[0], one) for one in rules):
        names = _in_full({name for one in rules for name in _checks_of(key[0], one)} - {"is missing"})
        return f"and {key[0]!r} has the checks {names}"
    meant = difflib.get_close_matches(str(key), [*columns, *names], 1)
    hint = f"; did you mean {meant[0]!r}?" if meant else "; write '*' for all bad rows"
    known_names = f"the columns are {columns}" + (f" and the checks are {names}" if names else "")
    return f"which is neither a column nor a check: {known_names}{hint}"


def _in_full(names: Collection[str]) -> list[str]:
    """Leave out names that are also listed with their arguments."""
    return sorted(name for name in names if not any(other.startswith(f"{name}(") for other in names))
