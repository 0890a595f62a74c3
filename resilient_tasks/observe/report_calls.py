"""The time line of a report: for each call that did not simply succeed, its attempts, waits and marks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from resilient_tasks.core import wording
from resilient_tasks.core.events import (
    BulkheadRejected,
    CallFailed,
    ChaosInjected,
    DataDrifted,
    Event,
    FallbackUsed,
    FlightJoined,
    HedgeStarted,
    HedgeWon,
    LastGoodUnavailable,
    RateLimitReached,
    RetryExhausted,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    RowsInvalid,
    RowsQuarantined,
    RowsWarned,
    TimeoutExceeded,
)
from resilient_tasks.observe.report_kept import Recent, Worst

#: The most calls, and of one call the most attempts, waits and marks.
CALLS, PARTS = 300, 100
#: The most calls under way at once.
OPEN = 5_000
_GRAVITY = {"failed": 4, "degraded": 3, "running": 2, "recovered": 1, "ok": 0}
_MARKED = (
    BulkheadRejected,
    ChaosInjected,
    DataDrifted,
    FlightJoined,
    HedgeStarted,
    HedgeWon,
    LastGoodUnavailable,
    RowsInvalid,
    RowsQuarantined,
    RowsWarned,
    TimeoutExceeded,
)


@dataclass(slots=True)
class Attempt:
    """One attempt; times are in unix seconds, None if unknown."""

    number: int
    started: float | None = None
    ended: float | None = None
    outcome: str = "running"
    error: str | None = None


@dataclass(slots=True)
class Line:
    """One call on the time line.

    Attributes:
        call: its id.
        operation: the function's name.
        task_run: the name of its Prefect task run.
        outcome: as of its last event.
        first, last: the times of its first and last event.
        before: attempts by an orchestrator's earlier runs of the function.
        left_out: attempts that are not kept.
        waited: seconds of waits between attempts.
        exhausted: why no further attempt followed.
    """

    call: str
    operation: str
    task_run: str | None
    first: float
    last: float
    outcome: str = "ok"
    before: int = 0
    left_out: int = 0
    waited: float = 0.0
    exhausted: str = ""
    number: int = 1
    attempts: list[Attempt] = field(default_factory=list)
    waits: list[tuple[float, float, str]] = field(default_factory=list)
    marks: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def gravity(self) -> tuple[int, int, float]:
        """Sort key: failed calls last, then by the number of attempts, then by duration."""
        return _GRAVITY[self.outcome], len(self.attempts) + self.left_out, self.last - self.first

    def attempt(self, number: int) -> Attempt:
        """Return the attempt with this number; make it if this is its first event."""
        number += self.before
        if self.attempts:
            last = self.attempts[-1]
            if last.number == number:
                return last
            if last.number > number:  # of a loop in a loop
                for attempt in self.attempts:
                    if attempt.number == number:
                        return attempt
        self.attempts.append(made := Attempt(number))
        if len(self.attempts) > PARTS:  # keep the first ones and the last ones
            del self.attempts[PARTS // 2]
            self.left_out += 1
        return made

    def as_dict(self) -> dict[str, Any]:
        """Return the call for JSON."""
        marks = list(self.marks)
        if self.left_out:
            marks.append((self.last, "attempts.left_out", f"{self.left_out:,} further attempts are not shown"))
        return {
            "call": self.call,
            "operation": self.operation,
            "task_run": self.task_run,
            "outcome": self.outcome,
            "attempts": [
                {
                    "number": each.number,
                    "started": each.started,
                    "ended": each.ended,
                    "outcome": each.outcome,
                    "error": each.error,
                }
                for each in self.attempts
            ],
            "waits": [{"started": began, "ended": ended, "reason": why} for began, ended, why in self.waits],
            "marks": [{"time": time, "name": name, "text": text} for time, name, text in marks],
        }


class TimeLine:
    """The worst and longest calls of a run. Events of one call come in order."""

    def __init__(self) -> None:
        self._ended: Worst[Line] = Worst(CALLS, lambda line: line.gravity)
        self._open: Recent[Line] = Recent(OPEN, self._ended.put)
        self._again: dict[tuple[str, str], Line] = {}

    def as_dict(self) -> dict[str, Any]:
        """Return the worst and longest calls for JSON."""
        shown: Worst[Line] = Worst(CALLS, lambda line: line.gravity)
        for line in (*self._open.values(), *self._ended):
            shown.put(line.call, line)
        return {"left_out": self._ended.left_out + shown.left_out, "calls": [line.as_dict() for line in shown]}

    def line_of(self, event: Event) -> Line:
        """Return the call of an event; make it if this is its first."""
        line = self._open.get(event.call) or self._ended.get(event.call)
        if line is None:
            line = self._again.pop(_task_run(event), None) if self._again else None
            if line is None:
                line = Line(event.call, event.operation, event.run.get("task_run"), event.time, event.time)
            else:
                self._ended.pop(line.call)
                line.call = event.call
            self._open.put(event.call, line)
        line.last = event.time
        return line

    def find(self, call: str) -> Line | None:
        """Return the call with this id, if it is kept."""
        return self._open.get(call) or self._ended.get(call)

    def _end(self, line: Line) -> None:
        if self._open.pop(line.call, None) is not None:
            self._ended.put(line.call, line)

    def add(self, event: Event) -> None:
        """Add an event, if it is one of a call that is shown."""
        add = _ADD.get(type(event))
        if add is not None and event.call:
            add(self, event)

    def scheduled(self, event: RetryScheduled) -> None:
        line = self.line_of(event)
        _fail(line, event, event.attempt)
        line.outcome, line.waited = "running", line.waited + event.delay
        if event.delay > 0:
            _keep(
                line.waits,
                (event.time, event.time + event.delay, f"retry after {brief(event.error_type, event.http_status)}"),
            )

    def started(self, event: RetryStarted) -> None:
        line = self.line_of(event)
        attempt = line.attempt(event.attempt)
        attempt.started, line.outcome = event.time, "running"
        if line.waits and line.waits[-1][0] < event.time < line.waits[-1][1]:
            line.waits[-1] = (line.waits[-1][0], event.time, line.waits[-1][2])

    def recovered(self, event: RetryRecovered) -> None:
        line = self.line_of(event)
        attempt = line.attempt(event.attempt)
        attempt.ended, attempt.outcome = event.time, "ok"
        attempt.started = _start(event, attempt.started)
        line.outcome, line.number = "recovered", event.attempt
        self._end(line)

    def exhausted(self, event: RetryExhausted) -> None:
        line = self.line_of(event)
        _fail(line, event, event.attempt)
        line.exhausted, line.number = event.reason, event.attempt
        line.outcome = "running"

    def degraded(self, event: FallbackUsed) -> None:
        line = self.line_of(event)
        _fail_whole(line, event)
        _keep(line.marks, (event.time, event.name, event.sentence()))
        line.outcome = "degraded"
        self._end(line)

    def failed(self, event: CallFailed) -> None:
        line = self.line_of(event)
        _fail_whole(line, event)
        line.outcome = "recovered" if event.again else "failed"
        if event.again and len(self._again) < CALLS:  # the next run of the function continues this line
            line.before = line.attempts[-1].number
            self._again[_task_run(event)] = line
        self._end(line)

    def limited(self, event: RateLimitReached) -> None:
        line = self.line_of(event)
        if event.refused:
            _keep(line.marks, (event.time, event.name, event.sentence()))
        else:
            _keep(line.waits, (event.time, event.time + event.delay, f"rate limit {event.limit}"))

    def marked(self, event: Event) -> None:
        line = self.line_of(event)
        _keep(line.marks, (event.time, event.name, event.sentence()))
        if isinstance(event, TimeoutExceeded):
            line.attempt(event.attempt).outcome = "abandoned" if event.abandoned else "timeout"


_Worded: TypeAlias = Callable[[str, int | None], str]
label: _Worded = functools.lru_cache(512)(wording.label)
brief: _Worded = functools.lru_cache(512)(wording.in_brief)


def _task_run(event: Event) -> tuple[str, str]:
    return event.run.get("task_run_id", ""), event.operation


def _start(event: Any, known: float | None) -> float | None:
    return known if known is not None or event.seconds is None else event.time - event.seconds


def _fail_whole(line: Line, event: Any) -> None:
    """Record that the last attempt failed, from an event about the call as a whole, unless its own event did."""
    last = line.attempts[-1].number - line.before if line.attempts else 0
    if last <= 0:
        _fail(line, event, 1)
    elif line.attempts[-1].ended is None:
        _fail(line, event, last)


def _fail(line: Line, event: Any, number: int) -> None:
    attempt = line.attempt(number)
    attempt.ended, attempt.error = event.time, label(event.error_type, event.http_status)
    if number == event.attempt:
        attempt.started = _start(event, attempt.started)
    if attempt.outcome not in {"timeout", "abandoned"}:
        attempt.outcome = "failed"


def _keep(parts: list[Any], part: Any) -> None:
    parts.append(part)
    if len(parts) > PARTS:
        del parts[PARTS // 2]


_ADD: dict[type[Event], Any] = {
    RetryScheduled: TimeLine.scheduled,
    RetryStarted: TimeLine.started,
    RetryRecovered: TimeLine.recovered,
    RetryExhausted: TimeLine.exhausted,
    FallbackUsed: TimeLine.degraded,
    CallFailed: TimeLine.failed,
    RateLimitReached: TimeLine.limited,
    **dict.fromkeys(_MARKED, TimeLine.marked),
}
