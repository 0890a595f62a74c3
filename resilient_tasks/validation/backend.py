"""What the two frame libraries have in common: findings, labels, and the search for what does not coerce."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from resilient_tasks.core.cleaned import Cleaner
from resilient_tasks.redaction.redact import is_nothing, is_secret_pair, is_short, redact, redact_whole
from resilient_tasks.redaction.registered import MARK

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

_BITS = 32  # rules numbered at a time; the number of the set so far needs the other bits of an integer
_TABLE = 1 << 20  # a table is faster than sorting for codes up to here

_PROBES = 2_000
"""The number of coercions that a search tries before it leaves the rest to pandera, which goes value by value."""
_RETRIES, _NEIGHBOURS = 200, 100
"""How many coercions may be tried to take suspects back, and beside how many of the rest at first."""

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
        check: What the rule is called.
        positions: Row numbers in the frame as read, from 0, ascending.
        read: Makes the list of `values`; None where no single column is meant.
    """

    column: str
    check: str
    positions: Positions
    read: Callable[[], list[Any]] | None = field(default=None, repr=False)

    def __reduce__(self) -> tuple[Any, ...]:
        # What crosses, or is kept somewhere, is the values that failed: not the rows that they are read from.
        values = None if self.read is None else self.values
        return Finding, (self.column, self.check, self.positions, None if values is None else values.copy)

    def __redacted__(self) -> Finding:
        """Return this finding without the secrets in it: itself where there is none."""
        values = self.values if self.read is not None else []
        clean, check = without_secrets(self.column, values), redact(self.check)
        if clean is values and check == self.check:
            return self
        return Finding(self.column, check, self.positions, None if self.read is None else clean.copy)

    @property
    def values(self) -> list[Any]:
        """The column's values as read, one for each position; None each where no single column is meant."""
        return [None] * len(self.positions) if self.read is None else self.read()


@dataclass(slots=True)
class Findings:
    """What is wrong with a frame: row by row, and as a whole.

    Attributes:
        rows: Each rule that some row fails.
        frame: What is wrong with the frame as a whole, in sentences.
        warnings: Each rule that only warns and that some row breaks; a rule with one verdict for all rows names none.
        certain: False where a rule was not judged as pandera would judge it on the rows that are left.
    """

    rows: list[Finding] = field(default_factory=list)
    frame: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    certain: bool = True
    _mask: Mask | None = None
    _counted: int = 0

    def bad(self, size: int) -> Mask:
        """The rows that fail at least one rule, as a mask over `size` rows."""
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
    """One frame and its schema, in the terms of one library."""

    @property
    def size(self) -> int:
        """Rows in the frame."""
        ...

    def inspect(self) -> Findings:
        """Every rule that can be a mask, evaluated once over the whole frame."""
        ...

    def accepted(self, keep: Mask) -> Frame_co | None:
        """The rows in `keep` as `schema.validate` would return them, without asking; None where only it can tell.

        Called where `inspect` found nothing wrong with the frame, was certain, and these rows are all that is good.
        """
        ...

    def judge(self, keep: Mask) -> tuple[Frame_co | None, Findings]:
        """Return pandera's own verdict on the rows in `keep`: its frame, or None and what it rejects."""
        ...

    def take(self, keep: Mask) -> Frame_co:
        """The rows in `keep` as they were read."""
        ...

    def reject(self, bad: Mask) -> Frame_co:
        """The rows in `bad` as they were read, once for all: findings may read their values from these."""
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


def code_of(error: Any) -> str:
    """Return the name of the reason code of one of pandera's schema errors."""
    return getattr(error.reason_code, "name", "")


def coercion_first(located: list[tuple[Any, Positions | None]]) -> list[tuple[Any, Positions | None]]:
    """Return the coercion errors that name rows; all errors where there is none.

    A column that does not coerce fails further checks for that reason alone: these are evaluated without the rows.
    """
    return [pair for pair in located if pair[1] is not None and code_of(pair[0]) == "DATATYPE_COERCION"] or located


def label(check: Any, index: int | None = None) -> str:
    """The name of a check for people: its error text, its name, or its number when it has neither."""
    if isinstance(check, str):
        return _WORDS.get(check, check)
    name = check.error or check.name
    return f"check {(index or 0) + 1}" if name in (None, "<lambda>") else str(name)


def refusal(dtype: Any, *, numeric: bool, temporal: bool) -> str:
    """The reason for a value that does not coerce to `dtype`."""
    if temporal:
        return "not a date"
    return "not a number" if numeric else f"not coercible to {dtype}"


def failed(column: str, check: str) -> str:
    """The frame-level sentence for a check that gives one verdict for all rows."""
    return f"{check} failed" if column == WHOLE_FRAME else f"column '{column}': {check} failed"


def raised(column: str, check: str, error: BaseException) -> str:
    """The frame-level sentence for a check that raised."""
    text = f"{check} raised {type(error).__name__}: {_first_line(str(error))}"
    return text if column == WHOLE_FRAME else f"column '{column}': {text}"


def sentence(error: Any, column: str, *, any_rows: bool) -> str | None:
    """The frame-level sentence for one of pandera's schema errors.

    Args:
        error: A `pandera.errors.SchemaError` that cannot be pinned on rows.
        column: The column it is about, or `WHOLE_FRAME`.
        any_rows: False where every row was bad already: what a check then says of zero rows means nothing.

    Returns:
        The sentence, or None where the error means nothing.
    """
    reason = code_of(error)
    if reason in _ABOUT_VALUES and not any_rows:
        return None
    if reason == "COLUMN_NOT_IN_DATAFRAME":
        return f"column '{error.failure_cases}' is missing"
    if reason == "COLUMN_NOT_IN_SCHEMA":
        return f"column '{error.failure_cases}' is not in the schema"
    if reason == "CHECK_ERROR":
        said = str(error.failure_cases).replace('("', ": ").removesuffix('")')
        check = f"{label(error.check, error.check_index)} raised {_first_line(said)}"
        return check if column == WHOLE_FRAME else f"column '{column}': {check}"
    if reason == "DATAFRAME_CHECK":
        return failed(column, label(error.check, error.check_index))
    return _first_line(str(error))


def _first_line(text: str, limit: int = 200) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def uncoercible_rows(guess: Mask, codes: Codes, accepts: Callable[[Positions], bool]) -> Mask | None:
    """Find the rows whose values do not coerce, asking as few times as possible.

    Args:
        guess: A cheap vectorised suspicion, possibly wrong both ways.
        codes: Gives the rows at these positions numbers: equal values, equal numbers.
        accepts: Whether pandera's own coercion takes the rows at these positions together.

    Returns:
        The rows to leave out, so that the rest coerces; None where that takes too many questions. A suspect that
        coerces by itself and with the rest is not among them.
    """
    bad = guess.copy()
    suspects = np.flatnonzero(guess)
    confirmed = _culprits(suspects, codes, accepts)
    if confirmed is not None:
        bad[suspects] = confirmed
    if accepts(np.flatnonzero(~bad)):
        return bad
    # A value can be fine alone and not among its neighbours: a date in a second format, say.
    unsure = suspects[:0] if confirmed is None else suspects[~confirmed]
    bad |= guess
    rest = np.flatnonzero(~bad)
    if not accepts(rest):
        wrong = _culprits(rest, codes, accepts)
        if wrong is None:
            return None
        bad[rest] = wrong
        if not accepts(np.flatnonzero(~bad)):
            return None
    return _readmitted(bad, unsure, codes, accepts)


def _readmitted(bad: Mask, unsure: Positions, codes: Codes, accepts: Callable[[Positions], bool]) -> Mask:
    """Take suspects back that coerce with the rest: a guess is no verdict."""
    good = np.flatnonzero(~bad)
    _, first = np.unique(codes(good), return_index=True)
    # Few of the rest stand for it at first: there may be a million of them.
    some = good[first[np.linspace(0, len(first) - 1, min(len(first), _NEIGHBOURS), dtype=np.intp)]]
    beside = np.union1d(good[:1], some)
    wrong = _culprits(unsure, codes, lambda part: accepts(np.union1d(beside, part)), _RETRIES)
    back = unsure if wrong is None else unsure[~wrong]
    if not len(back) or not accepts(np.union1d(good, back)):
        return bad
    taken = bad.copy()
    taken[back] = False
    return taken


def _culprits(
    rows: Positions, codes: Codes, accepts: Callable[[Positions], bool], probes: int = _PROBES
) -> Mask | None:
    """Halve the distinct values until the refused ones stand alone: a mask over `rows`; None when out of probes."""
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
    """Return `values` of a column without the secrets in them: the same list where there is none."""
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
        together = "\n".join(values)  # one look at all of them costs a tenth of a look at each
        if redact_whole(together) == together and all(map(is_short, values)):
            return values
    return [Cleaner()(value) for value in values]
