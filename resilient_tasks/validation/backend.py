"""What the pandas and polars backends share: findings, check names, error texts, and the search for bad values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from resilient_tasks.redaction.patterns import MARK
from resilient_tasks.redaction.secret_values import is_nothing
from resilient_tasks.redaction.text import is_secret_pair, is_short, redact, redact_whole
from resilient_tasks.redaction.values import Cleaner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Positions = NDArray[np.intp]
    Mask = NDArray[np.bool_]
    Codes = Callable[[Positions], Positions]

Rule = tuple[str, str]
"""A column and a check."""

Frame_co = TypeVar("Frame_co", covariant=True)

WHOLE_FRAME = "*"
"""The column of a reason that concerns a row as a whole."""

MEMBERSHIP = frozenset({"isin", "notin"})
COMPARISONS = frozenset({
    "equal_to", "not_equal_to", "greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to",
    "in_range",
})  # fmt: skip
TEXT_CHECKS = frozenset({"str_matches", "str_contains", "str_startswith", "str_endswith", "str_length"})
"""Pandera's own checks, by name."""

_AT_A_TIME = 5_000
_NUMBERS = frozenset({int, float, bool, type(None)})
_LONGEST_TEXT = 200  # characters of an error

_BITS = 32  # rules numbered at a time; the number of the set so far needs the other bits of an integer
_TABLE = 1 << 20  # a table is faster than sorting for codes up to here

_PROBES = 2_000
"""Coercions that a search tries before it gives up; pandera then coerces value by value."""
_RETRIES, _NEIGHBOURS = 200, 100
"""Coercions that may be tried to readmit suspects, and the accepted rows that stand for the rest at first."""

_WORDS = {
    "not_nullable": "is null",
    "field_uniqueness": "is duplicated",
    "multiple_fields_uniqueness": "is duplicated",
    "multiindex_unique": "is duplicated",
}
_ABOUT_VALUES = frozenset({"DATAFRAME_CHECK", "CHECK_ERROR"})


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One rule and the rows that fail it.

    Attributes:
        column: The column's name as text, or `WHOLE_FRAME`.
        check: The rule's name.
        positions: Row numbers in the frame as read, from 0, ascending.
        read: Return `values`; None where no single column is meant.
    """

    column: str
    check: str
    positions: Positions
    read: Callable[[], list[Any]] | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle the failed values, not the whole rows that they are read from.
        values = None if self.read is None else self.values
        return Finding, (self.column, self.check, self.positions, None if values is None else values.copy)

    def __redacted__(self) -> Finding:
        """Return this finding without secrets; itself if it holds none."""
        values = self.values if self.read is not None else []
        clean, check = without_secrets(self.column, values), redact(self.check)
        if clean is values and check == self.check:
            return self
        return Finding(self.column, check, self.positions, None if self.read is None else clean.copy)

    @property
    def values(self) -> list[Any]:
        """The column's values as read, one for each position; all None where no single column is meant."""
        return [None] * len(self.positions) if self.read is None else self.read()


@dataclass(slots=True)
class Findings:
    """What is wrong with a frame: row by row, and as a whole.

    Attributes:
        rows: Each rule that some row fails.
        frame: What is wrong with the frame as a whole, one sentence each.
        warnings: Each warn-only rule that some row breaks; without positions where one result stands for all rows.
        certain: Whether pandera would decide the same on the remaining rows.
    """

    rows: list[Finding] = field(default_factory=list)
    frame: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    certain: bool = True
    _mask: Mask | None = None
    _counted: int = 0

    def bad(self, size: int) -> Mask:
        """Return the rows that fail at least one rule, as a mask over `size` rows."""
        mask = np.zeros(size, dtype=bool) if self._mask is None else self._mask.copy()
        for finding in self.rows[self._counted :]:
            mask[finding.positions] = True
        self._mask, self._counted = mask, len(self.rows)
        return mask

    def extend(self, other: Findings) -> None:
        """Add the findings of another."""
        self.rows.extend(other.rows)
        self.frame.extend(other.frame)


class Backend(Protocol[Frame_co]):
    """A frame and its schema in one library."""

    @property
    def size(self) -> int:
        """Rows in the frame."""
        ...

    def inspect(self) -> Findings:
        """Evaluate every rule that can be a mask, once, over the whole frame."""
        ...

    def assemble(self, keep: Mask) -> Frame_co | None:
        """Return the rows in `keep` as `schema.validate` would, without calling it; None where only pandera knows.

        Called only if `inspect` was certain and found no frame error, with all good rows.
        """
        ...

    def validate(self, keep: Mask) -> tuple[Frame_co | None, Findings]:
        """Validate the rows in `keep` with pandera: return its frame, or None and the errors as findings."""
        ...

    def take(self, keep: Mask) -> Frame_co:
        """Return the rows in `keep` as they were read."""
        ...

    def reject(self, bad: Mask) -> Frame_co:
        """Return the rows in `bad` as they were read. Called once: findings may read their values from the result."""
        ...


def bad_positions(findings: Sequence[Finding]) -> Positions:
    """Return the positions of the rows that some rule found, ascending."""
    if not findings:
        return np.array([], dtype=np.intp)
    first = min(int(finding.positions[0]) for finding in findings)  # far from 0 in a chunk
    last = max(int(finding.positions[-1]) for finding in findings)
    bad = np.zeros(last + 1 - first, dtype=bool)
    for finding in findings:
        bad[finding.positions - first] = True
    return np.flatnonzero(bad) + first


def combinations(
    findings: Sequence[Finding], rows: Positions, rules: Sequence[Rule], rule_of: Callable[[Finding], Rule]
) -> tuple[NDArray[np.int64], list[tuple[Rule, ...]]]:
    """Number the rows by the set of rules that they break, so that each set is written once.

    Args:
        findings: The rules that some row breaks.
        rows: What `bad_positions` returns for them.
        rules: All of these rules, in the order in which a set names them.
        rule_of: Return the rule of a finding.

    Returns:
        A number for each row, and the set of rules for each number.
    """
    first = int(rows[0]) if len(rows) else 0
    places = np.zeros(int(rows[-1]) + 1 - first if len(rows) else 0, dtype=np.intp)
    places[rows - first] = np.arange(len(rows))
    codes, sets = np.zeros(len(rows), dtype=np.int64), list[tuple[Rule, ...]]([()])
    for begin in range(0, len(rules), _BITS):
        some = rules[begin : begin + _BITS]
        codes <<= len(some)
        for finding in findings:
            if (rule := rule_of(finding)) in some:
                codes[places[finding.positions - first]] |= 1 << some.index(rule)
        distinct, codes = _renumbered(codes)
        sets = [
            (*sets[code >> len(some)], *(rule for at, rule in enumerate(some) if code >> at & 1))
            for code in distinct.tolist()
        ]
    return codes, sets


def _renumbered(codes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct codes, ascending, and the number of each code among them."""
    most = int(codes.max()) + 1
    if most > _TABLE:
        distinct, numbers = np.unique(codes, return_inverse=True)
        return distinct, numbers
    distinct = np.flatnonzero(np.bincount(codes, minlength=most))
    table = np.zeros(most, dtype=np.int64)
    table[distinct] = np.arange(len(distinct))
    return distinct, table[codes]


def validate(
    schema: Any, frame: Any, crashes: tuple[type[BaseException], ...] = (Exception,)
) -> tuple[Any, list[Any], BaseException | None]:
    """Validate a frame with pandera.

    Args:
        schema: A schema, or a model that overrides `validate`.
        frame: The frame.
        crashes: The exceptions that are failures of pandera or of a check.

    Returns:
        The frame as pandera returns it; or None and its errors, or None and the exception it failed with.
    """
    from pandera.errors import SchemaDefinitionError, SchemaError, SchemaErrors, SchemaInitError  # noqa: PLC0415

    try:
        return schema.validate(frame, lazy=True), [], None
    except SchemaErrors as errors:
        return None, errors.schema_errors, None
    except SchemaError as error:  # raised by an overridden `validate`
        return None, [error], None
    except (SchemaDefinitionError, SchemaInitError):
        raise  # the schema is at fault, not the data
    except crashes as error:
        return None, [], error


def code_of(error: Any) -> str:
    """Return the name of the reason code of one of pandera's schema errors."""
    return getattr(error.reason_code, "name", "")


def coercion_first(located: list[tuple[Any, Positions | None]]) -> list[tuple[Any, Positions | None]]:
    """Return the coercion errors that name rows; all errors where there is none.

    A column that does not coerce fails further checks for that reason alone: these are evaluated without the rows.
    """
    return [pair for pair in located if pair[1] is not None and code_of(pair[0]) == "DATATYPE_COERCION"] or located


def label(check: Any, index: int | None = None) -> str:
    """Return a check's name for messages: its error text, its name, or its number."""
    if isinstance(check, str):
        return _WORDS.get(check, check)
    name = check.error or check.name
    return f"check {(index or 0) + 1}" if name in (None, "<lambda>") else str(name)


def coercion_reason(dtype: Any, *, numeric: bool, temporal: bool) -> str:
    """Return the reason for a value that does not coerce to `dtype`."""
    if temporal:
        return "not a date"
    return "not a number" if numeric else f"not coercible to {dtype}"


def failed_text(column: str, check: str) -> str:
    """Return the frame error for a check that failed with one result for all rows."""
    return f"{check} failed" if column == WHOLE_FRAME else f"column '{column}': {check} failed"


def raised_text(column: str, check: str, error: BaseException) -> str:
    """Return the frame error for a check that raised."""
    text = f"{check} raised {type(error).__name__}: {_first_line(str(error))}"
    return text if column == WHOLE_FRAME else f"column '{column}': {text}"


def frame_error(error: Any, column: str, *, any_rows: bool) -> str | None:
    """Return the frame error for one of pandera's schema errors.

    Args:
        error: A `pandera.errors.SchemaError` that names no rows.
        column: The column it is about, or `WHOLE_FRAME`.
        any_rows: Whether any row was left to validate. A check's result on zero rows means nothing.

    Returns:
        The text, or None where the error means nothing.
    """
    reason = code_of(error)
    if reason in _ABOUT_VALUES and not any_rows:
        return None
    if reason == "COLUMN_NOT_IN_DATAFRAME":
        return f"column '{error.failure_cases}' is missing"
    if reason == "COLUMN_NOT_IN_SCHEMA":
        return f"column '{error.failure_cases}' is not in the schema"
    if reason == "CHECK_ERROR":
        cause = str(error.failure_cases).replace('("', ": ").removesuffix('")')
        check = f"{label(error.check, error.check_index)} raised {_first_line(cause)}"
        return check if column == WHOLE_FRAME else f"column '{column}': {check}"
    if reason == "DATAFRAME_CHECK":
        return failed_text(column, label(error.check, error.check_index))
    return _first_line(str(error))


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= _LONGEST_TEXT else f"{line[: _LONGEST_TEXT - 1]}…"


def uncoercible_rows(guess: Mask, codes: Codes, accepts: Callable[[Positions], bool]) -> Mask | None:
    """Find the rows whose values do not coerce, with as few coercions as possible.

    Args:
        guess: A cheap vectorised guess; it may be wrong both ways.
        codes: Number the values at these positions; equal values get equal numbers.
        accepts: Return whether pandera coerces the values at these positions together.

    Returns:
        The rows to leave out so that the rest coerces, without suspects that do coerce; None when out of probes.
    """
    bad = guess.copy()
    suspects = np.flatnonzero(guess)
    confirmed = _bisect(suspects, codes, accepts)
    if confirmed is not None:
        bad[suspects] = confirmed
    if accepts(np.flatnonzero(~bad)):
        return bad
    # A value can coerce alone but not among the others: a date in a second format, for example.
    unsure = suspects[:0] if confirmed is None else suspects[~confirmed]
    bad |= guess
    rest = np.flatnonzero(~bad)
    if not accepts(rest):
        wrong = _bisect(rest, codes, accepts)
        if wrong is None:
            return None
        bad[rest] = wrong
        if not accepts(np.flatnonzero(~bad)):
            return None
    return _readmit(bad, unsure, codes, accepts)


def _readmit(bad: Mask, unsure: Positions, codes: Codes, accepts: Callable[[Positions], bool]) -> Mask:
    """Readmit suspects that coerce together with the rest."""
    good = np.flatnonzero(~bad)
    _, first = np.unique(codes(good), return_index=True)
    # A few accepted rows stand for the rest at first: there may be a million.
    some = good[first[np.linspace(0, len(first) - 1, min(len(first), _NEIGHBOURS), dtype=np.intp)]]
    beside = np.union1d(good[:1], some)
    wrong = _bisect(unsure, codes, lambda part: accepts(np.union1d(beside, part)), _RETRIES)
    back = unsure if wrong is None else unsure[~wrong]
    if not len(back) or not accepts(np.union1d(good, back)):
        return bad
    taken = bad.copy()
    taken[back] = False
    return taken


def _bisect(rows: Positions, codes: Codes, accepts: Callable[[Positions], bool], probes: int = _PROBES) -> Mask | None:
    """Bisect the distinct values down to the refused ones: a mask over `rows`; None when out of probes."""
    _, first, code = np.unique(codes(rows), return_index=True, return_inverse=True)
    wrong = np.zeros(len(first), dtype=bool)
    pending = [np.arange(len(first))]
    for _ in range(probes):
        if not pending:
            mask: Mask = wrong[code]
            return mask
        part = pending.pop()
        if len(part) == 0 or accepts(np.sort(rows[first[part]])):
            continue
        if len(part) == 1:
            wrong[part] = True
        else:
            pending += [part[len(part) // 2 :], part[: len(part) // 2]]
    return None


def without_secrets(column: str, values: list[Any]) -> list[Any]:
    """Return a column's values without secrets; the same list if it holds none."""
    kinds = set(map(type, values))
    if kinds <= {type(None)}:
        return values
    if is_secret_pair(column, "A1b2C3d4E5f6"):
        return [value if value is None or is_nothing(str(value)) else MARK for value in values]
    if kinds <= _NUMBERS:
        return values
    parts = [_cleaned(values[at : at + _AT_A_TIME]) for at in range(0, len(values), _AT_A_TIME)]
    made = [value for part in parts for value in part]
    return values if all(new is old for new, old in zip(made, values, strict=True)) else made


def _cleaned(values: list[Any]) -> list[Any]:
    if all(isinstance(value, str) for value in values):
        together = "\n".join(values)  # one pass over all of them costs a tenth of a pass over each
        if redact_whole(together) == together and all(map(is_short, values)):
            return values
    return [Cleaner()(value) for value in values]
