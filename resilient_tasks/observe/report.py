"""The report of a run, computed from its events alone: calls that failed, were degraded or recovered."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from resilient_tasks.core.events import (
    ApiAway,
    CallFailed,
    Event,
    FailureEvent,
    FallbackUsed,
    FlightAlone,
    FlightJoined,
    LastGoodUnavailable,
    NotifyFailed,
    NotifySent,
    RateAdapted,
    RetryRecovered,
    RetryScheduled,
    RowsInvalid,
    RowsQuarantined,
    TimeoutExceeded,
    in_the_quarantine,
    rows_quarantined,
    what_rules_warn_of,
    why_and_where,
)
from resilient_tasks.core.events.attempts import place
from resilient_tasks.core.events.sinks import latest_of_sinks
from resilient_tasks.core.shown import for_markdown, for_terminal
from resilient_tasks.core.wording import age, calls_in, counted, number_of


@dataclass(slots=True)
class Operation:
    """Counts for the calls of one function.

    Attributes:
        name: the operation.
        failed: calls that raised.
        degraded: calls that used a fallback.
        recovered: calls that succeeded after a failed attempt.
        retries: attempts after the first.
        waited: seconds spent waiting between attempts.
        errors: retried attempts and final failures, by HTTP status or error type.
        invalid_rows: rows that broke their schema and are not quarantined.
        quarantined: quarantined rows by file; a later attempt of a call replaces those of an earlier one.
    """

    name: str
    failed: int = 0
    degraded: int = 0
    recovered: int = 0
    retries: int = 0
    waited: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    invalid_rows: int = 0
    quarantined: dict[str, int] = field(default_factory=dict)

    @property
    def rows_out(self) -> int:
        """Rows that broke their schema."""
        return self.invalid_rows + sum(self.quarantined.values())

    @property
    def gravity(self) -> tuple[int, int, int]:
        """Sort key: operations that did not recover come first."""
        return (-self.failed, -self.degraded, -self.recovered)


_COLUMNS = ("operation", "failed", "degraded", "recovered", "retries", "waited s", "rows out", "errors")


class RunReport:
    """The report of a run, from its events.

    Args:
        events: the events; those of one call in order.
    """

    def __init__(self, events: Iterable[Event]) -> None:
        self.events: Sequence[Event] = tuple(events)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The operations with retries, failures or invalid rows, worst first."""
        found: dict[str, Operation] = {}
        for event in self.events:
            _count(found.setdefault(event.operation, Operation(event.operation)), event)
        touched = (operation for operation in found.values() if _touched(operation))
        return tuple(sorted(touched, key=lambda operation: (operation.gravity, operation.name)))

    @property
    def failed(self) -> int:
        """Calls that raised, except those whose failure an enclosing call handled and reports itself."""
        taken = taken_up(self.events)
        raised = (event for event in self.events if isinstance(event, CallFailed) and not event.again)
        return sum(event.call not in taken for event in raised)

    @property
    def degraded(self) -> int:
        """Calls that used a fallback."""
        return sum(operation.degraded for operation in self.operations)

    @property
    def recovered(self) -> int:
        """Calls that succeeded after a failed attempt."""
        return sum(operation.recovered for operation in self.operations)

    @property
    def quarantined(self) -> int:
        """Quarantined rows."""
        return sum(sum(operation.quarantined.values()) for operation in self.operations)

    def quarantine(self) -> str:
        """Return one line about quarantined rows, their reasons and file; empty if there are none."""
        batches = sorted(in_the_quarantine(self.events), key=lambda event: -event.invalid)
        return f"{rows_quarantined(batches)}{why_and_where(batches)}" if batches else ""

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """Remarks beyond the counts, such as work that was not stopped and alerts that were not delivered."""
        kinds = Counter(type(event) for event in self.events)
        overran = [event for event in self.events if isinstance(event, TimeoutExceeded) and not event.stopped]
        running = [f"{event.operation} in {place(event.thread)}" for event in overran if event.abandoned]
        late = [f"{event.operation}: {event.reason or 'late'}" for event in overran if not event.abandoned]
        undelivered = self._undelivered()
        old = [
            f"{e.operation}: {age(e.age)} old" for e in self.events if isinstance(e, FallbackUsed) and e.age is not None
        ]
        lost = [f"{each.operation}: {each.reason}" for each in self.events if isinstance(each, LastGoodUnavailable)]
        joined = [event for event in self.events if isinstance(event, FlightJoined)]
        shared = [event.operation for event in joined if event.outcome != "deadline"]
        waited = [event.operation for event in joined if event.outcome == "deadline"]
        alone = [f"{each.operation}: {each.reason}" for each in self.events if isinstance(each, FlightAlone)]
        lowered = _lowered(event for event in self.events if isinstance(event, RateAdapted))
        remarks = {
            f"attempts abandoned, which may have continued: {_named(running)}": len(running),
            f"attempts that overran their limit and could not be interrupted: {_named(late)}": len(late),
            f"last good results that stood in: {_named(old)}": len(old),
            f"last good results that were not kept or could not be read: {_named(lost)}": len(lost),
            f"calls that shared the attempt of another: {_named(shared)}": len(shared),
            f"calls whose deadline came while they waited for the attempt of another: {_named(waited)}": len(waited),
            f"calls that could not share an attempt and ran one by one: {_named(alone)}": len(alone),
            f"rate limits that throttled calls lowered: {_named(lowered)}": len(lowered),
            f"alerts that could not be delivered, and wait: {_named(list(undelivered.values()))}": len(undelivered),
            f"alerts sent: {kinds[NotifySent]}": kinds[NotifySent],
            what_rules_warn_of(self.events): 1,
            **{event.sentence(): 1 for event in self.events if isinstance(event, ApiAway)},
            **{event.sentence(): 1 for event in latest_of_sinks(self.events)},
        }
        return tuple(text for text, count in remarks.items() if text and count)

    def _undelivered(self) -> dict[tuple[str, str], str]:
        """Return the reason, by channel and key, for each message that has not been delivered."""
        found: dict[tuple[str, str], str] = {}
        for event in self.events:
            if isinstance(event, NotifyFailed):
                found[event.channel, event.key] = f"{event.channel}: {event.message}"
            elif isinstance(event, NotifySent):
                found.pop((event.channel, event.key), None)
        return found

    def headline(self) -> str:
        """Summarize the run in one line."""
        parts = [f"{self.failed} failed", f"{self.degraded} degraded", f"{self.recovered} recovered"]
        if self.quarantined:
            parts.append(self.quarantine())
        return ", ".join(parts)

    def text(self) -> str:
        """Return the report as a table for a terminal."""
        rows = [_COLUMNS, *(tuple(for_terminal(cell, lines=False) for cell in row) for row in self._rows())]
        widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
        lines = [
            "  ".join(
                _aligned(cell, width, at) for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        lines.insert(1, "  ".join("─" * width for width in widths))
        return "\n".join(
            [self.headline(), "", *lines, *(f"· {for_terminal(each, lines=False)}" for each in self.remarks)]
        )

    def markdown(self) -> str:
        """Return the report as Markdown, for Prefect."""
        head = "| " + " | ".join(_COLUMNS) + " |\n|" + "---|" * len(_COLUMNS)
        body = "\n".join("| " + " | ".join(map(for_markdown, row)) + " |" for row in self._rows())
        remarks = "\n".join(f"- {for_markdown(remark)}" for remark in self.remarks)
        return f"## {self.headline()}\n\n{head}\n{body}\n\n{remarks}\n"

    def html(self) -> str:
        """Return the report's table as an HTML fragment."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in _COLUMNS)
        body = "".join("<tr>" + "".join(f"<td>{_html(cell)}</td>" for cell in row) + "</tr>" for row in self._rows())
        remarks = "".join(f"<li>{_html(remark)}</li>" for remark in self.remarks)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{remarks}</ul>"

    def _rows(self) -> list[tuple[str, ...]]:
        return [
            (
                operation.name,
                str(operation.failed),
                str(operation.degraded),
                str(operation.recovered),
                str(operation.retries),
                f"{operation.waited:.1f}",
                f"{operation.rows_out:,}",
                counted(dict(operation.errors.most_common())),
            )
            for operation in self.operations
        ]


def taken_up(events: Iterable[Event]) -> set[str]:
    """Return the ids of calls whose failure an enclosing call handled: it retried, was degraded, or failed with it."""
    return {event.of for event in events if isinstance(event, FailureEvent) and event.of}


def _count(operation: Operation, event: Event) -> None:
    match event:
        case RetryScheduled():
            operation.retries += 1
            operation.waited += event.delay
            operation.errors[event.error_in_brief] += 1
        case RetryRecovered():
            operation.recovered += 1
        case FallbackUsed():
            operation.degraded += 1
            operation.errors[event.error_in_brief] += 1
        case CallFailed(again=True):
            operation.retries += 1
            operation.errors[event.error_in_brief] += 1
        case CallFailed():
            operation.failed += 1
            operation.errors[event.error_in_brief] += 1
        case RowsQuarantined():
            operation.quarantined[event.path] = event.invalid
        case RowsInvalid():
            operation.invalid_rows += event.invalid


_AT_MOST = 5


def _named(what: list[str]) -> str:
    """Return the number of items and the first few; equal items are named once."""
    counts = Counter(what)
    few = dict(list(counts.items())[:_AT_MOST])
    left = len(what) - sum(few.values())
    more = f" and {left} more" if left else ""
    return f"{len(what)} ({counted(few, '; ')}{more})"


def _lowered(events: Iterable[RateAdapted]) -> list[str]:
    """Describe how often throttled calls lowered each adaptive rate limit, and how far."""
    found: dict[str, list[RateAdapted]] = {}
    for event in events:
        found.setdefault(event.limit, []).append(event)
    lowest = {limit: min(each, key=lambda event: event.rate / event.per) for limit, each in found.items()}
    return [
        f"{limit}: {number_of(len(found[limit]), 'time')}, down to {calls_in(event.rate, event.per)}"
        for limit, event in lowest.items()
    ]


def _html(text: str) -> str:
    return html.escape(for_terminal(text))


def _touched(operation: Operation) -> bool:
    return any((operation.failed, operation.degraded, operation.recovered, operation.retries, operation.rows_out))


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if _COLUMNS[column] in {"operation", "errors"} else cell.rjust(width)
