"""Report the bad data of a run, from its events and the files that they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from resilient_tasks.core.events import (
    Event,
    RowsQuarantined,
    RowsWarned,
    frames_warned_of,
    in_the_quarantine,
    rows_quarantined,
    what_rules_warn_of,
    why_and_where,
)
from resilient_tasks.core.shown import for_markdown, for_terminal
from resilient_tasks.core.wording import number_of
from resilient_tasks.quarantine.quarantine import Quarantine, QuarantineError
from resilient_tasks.quarantine.replay import commands
from resilient_tasks.redaction.text import redact
from resilient_tasks.redaction.values import Cleaner

#: Limits: Prefect refuses large artifacts.
_MOST_COUNTS = 200
_MOST_BATCHES = 20
_ROWS_A_BATCH = 5
_LONGEST_VALUE = 60
_LONGEST_ROW = 400


class DataQuality:
    """The quarantined batches of a run, and the rules that warned, according to its events.

    Args:
        events: the events; those of one call in order.

    Attributes:
        batches: the last event of each quarantine file, most rows first.
        warned: the last `RowsWarned` of each frame.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        events = tuple(events)
        self.batches: Sequence[RowsQuarantined] = sorted(in_the_quarantine(events), key=lambda event: -event.invalid)
        self.warned: Sequence[RowsWarned] = frames_warned_of(events)

    @property
    def is_worth_a_look(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.batches or self.warned)

    def headline(self) -> str:
        """Return one line: the number of quarantined rows, their reasons and file, and the rules that warned."""
        kept = f"{self._counts()}{why_and_where(self.batches)}" if self.batches or not self.warned else ""
        return "; ".join(filter(None, [kept, what_rules_warn_of(self.warned)]))

    def _counts(self) -> str:
        return rows_quarantined(self.batches)

    def markdown(self) -> str:
        """Return Markdown: counts by operation, column and check, then a few rows of each batch, read from its file.

        A row that failed several checks counts for each. Rows show their values as read, redacted. Rules that warned
        have a separate table.
        """
        parts: list[str] = []
        if self.batches or not self.warned:
            parts += [f"## {self._counts()}", *_counted(self.batches)]
        for event in self.batches[:_MOST_BATCHES]:
            parts += _batch(event)
        if more := len(self.batches) - _MOST_BATCHES:
            parts += [f"… and {number_of(more, 'more batch', 'more batches')}."] if more > 0 else []
        if self.warned:
            parts += ["## Rules that warn: these rows went on", *_counted(self.warned)]
        return "\n\n".join(parts) + "\n"


def _counted(events: Iterable[RowsQuarantined | RowsWarned]) -> Iterable[str]:
    counts = [
        (for_markdown(_named(event)), _code(reason), f"{rows:,}" if rows else "the frame", f"{event.rows:,}")
        for event in events
        for reason, rows in event.reasons.items()
    ]
    return _table(("operation", "column: check", "rows", "of"), counts, _MOST_COUNTS)


def _named(event: RowsQuarantined | RowsWarned) -> str:
    return f"{event.operation} {event.part}" if event.part else event.operation


def _batch(event: RowsQuarantined) -> Iterable[str]:
    yield f"### {for_markdown(f'{event.operation}: {event.sentence()}')}"
    try:
        kept = Quarantine.sample(event.path, _ROWS_A_BATCH)
    except QuarantineError as error:
        yield f"Its rows cannot be read from here: {for_markdown(redact(str(error)))}"
    else:
        rows = [(str(row["row"]), _why(row["reasons"]), _values(row)) for row in kept]
        yield from _table(("row", "why", "as read"), rows, _ROWS_A_BATCH)
    yield f"In {_code(event.path)}. To see all rows, and to put corrected ones back:"
    lines = for_terminal("\n".join(commands(event.path, event.batch, event.schema)))
    fence = _fence(lines, at_least=3)
    yield f"{fence}\n{lines}\n{fence}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> Iterable[str]:
    lines = [head, ["---"] * len(head), *rows[:most]]
    yield "\n".join(f"| {' | '.join(line)} |" for line in lines)
    if len(rows) > most:
        yield f"… and {len(rows) - most:,} more."


def _why(reasons: Iterable[dict[str, Any]]) -> str:
    return _code(", ".join(f"{reason['column']}: {reason['check']}" for reason in reasons))


def _values(row: dict[str, Any]) -> str:
    """Return the row's values, failed ones first."""
    values = row["values"]
    if not isinstance(values, dict):  # an item that is not a record, in a list of records
        return _code(_value(values))
    failed = {
        re.split(r"[.\[]", reason["column"])[0] for reason in row["reasons"]
    }  # a nested field is named by its path
    failed |= {reason["column"] for reason in row["reasons"]}
    in_order = sorted(values.items(), key=lambda item: item[0] not in failed)
    return _code(", ".join(f"{name}={_value(Cleaner().named(name, value))}" for name, value in in_order))


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    text = redact(text)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"


def _code(text: str) -> str:
    """Return text as inline code for a table cell, safe from Markdown and HTML."""
    text = for_terminal(redact(" ".join(text.split())))
    text = text if len(text) <= _LONGEST_ROW else f"{text[: _LONGEST_ROW - 1]}…"
    fence = _fence(text)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}".replace("|", "\\|")


def _fence(text: str, at_least: int = 1) -> str:
    """Return a run of backticks longer than any in `text`."""
    return "`" * max(at_least, 1 + max(map(len, re.findall("`+", text)), default=0))
