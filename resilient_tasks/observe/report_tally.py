"""What a report counts and keeps of the events of a run, in one pass and in bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from resilient_tasks.core.events import (
    ApiAway,
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    CallFailed,
    Event,
    FallbackUsed,
    FlightAlone,
    FlightJoined,
    InputDegraded,
    LastGoodUnavailable,
    NotifyFailed,
    NotifyKnown,
    NotifySent,
    NotifySuppressed,
    RateAdapted,
    RateLimitReached,
    RetryExhausted,
    RetryRecovered,
    RetryScheduled,
    RowsInvalid,
    RowsQuarantined,
    RowsWarned,
    StoreLost,
    TimeoutExceeded,
    rules_by_rows,
)
from resilient_tasks.core.events.attempts import place
from resilient_tasks.core.events.sinks import SinkEvent
from resilient_tasks.core.wording import age
from resilient_tasks.observe.report_calls import TimeLine, brief
from resilient_tasks.observe.report_kept import Named, Recent, Worst

#: The most failures, degraded calls, recovered calls, batches, circuits, operations, and ids of failed calls to keep.
FAILURES, DEGRADED, RECOVERED, BATCHES, CIRCUITS, OPERATIONS, IDS = 500, 500, 200, 1000, 200, 2000, 100_000
OTHERS = "(other operations)"


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
        quarantined: quarantined rows; a later attempt of a call replaces those of an earlier one.
    """

    name: str
    failed: int = 0
    degraded: int = 0
    recovered: int = 0
    retries: int = 0
    waited: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    invalid_rows: int = 0
    quarantined: int = 0

    @property
    def rows_out(self) -> int:
        """Rows that broke their schema."""
        return self.invalid_rows + self.quarantined

    @property
    def gravity(self) -> tuple[int, int, int]:
        """Sort key: operations that did not recover come first."""
        return (-self.failed, -self.degraded, -self.recovered)

    @property
    def is_touched(self) -> bool:
        """Whether there is anything to report."""
        return any((self.failed, self.degraded, self.recovered, self.retries, self.rows_out))

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for JSON."""
        return {
            "name": self.name,
            "failed": self.failed,
            "degraded": self.degraded,
            "recovered": self.recovered,
            "retries": self.retries,
            "waited_s": round(self.waited, 6),
            "rows_out": self.rows_out,
            "errors": dict(self.errors.most_common()),
        }


class Tally:
    """Counts events. Those of one call come in order; the files of several processes may come one after the other."""

    def __init__(self) -> None:
        self.kinds: Counter[type[Event]] = Counter()
        self.run: dict[str, str] = {}
        self._first, self._last = math.inf, -math.inf
        self.operations: dict[str, Operation] = {}
        self.failed: int = 0
        self.quarantined: int = 0
        self.time_line: TimeLine = TimeLine()
        self.not_recovered: Worst[dict[str, Any]] = Worst(FAILURES, lambda entry: (entry["attempts"], -entry["time"]))
        self.degraded: Worst[dict[str, Any]] = Worst(DEGRADED, lambda entry: -entry["time"])
        self.recovered: Worst[dict[str, Any]] = Worst(RECOVERED, lambda entry: (entry["attempts"], entry["waited_s"]))
        self.batches: Worst[RowsQuarantined] = Worst(BATCHES, lambda event: event.invalid)
        self.refused_rows: dict[tuple[str, str | None, str], dict[str, Any]] = {}
        self.circuits: dict[str, list[tuple[float, str, str]]] = {}
        self.undelivered: dict[tuple[str, str], tuple[float, NotifyFailed | None]] = {}
        self.adapted: dict[str, list[float]] = {}
        self.away: list[str] = []
        self.sinks: dict[str, tuple[float, str]] = {}
        self.store_lost: Named = Named()
        self.not_stopped: list[dict[str, Any]] = []
        self.abandoned: Named = Named()
        self.late: Named = Named()
        self.old: Named = Named()
        self.lost: Named = Named()
        self.shared: Named = Named()
        self.waited: Named = Named()
        self.alone: Named = Named()
        self.inputs: Named = Named()
        self.limited: list[float] = [0, 0.0]
        self.warned: Counter[str] = Counter()
        self._warned: Recent[RowsWarned] = Recent(2_000, self._settle_warning)
        self._of_files: dict[int, int] = {}
        self._failed_calls: Recent[str] = Recent(IDS)
        self._taken: Recent[bool] = Recent(IDS)
        self._origins: Recent[str] = Recent(FAILURES)

    def add(self, event: Event) -> None:
        """Count one event."""
        kind, time = type(event), event.time
        if time < self._first:  # noqa: PLR1730  # a call for each event takes longer
            self._first = time
        if time > self._last:  # noqa: PLR1730  # as above
            self._last = time
        if not self.run and event.run:
            self.run = dict(event.run)
        self.kinds[kind] += 1
        try:
            counts = _COUNT[kind]
        except KeyError:  # a user's class may derive from one of ours
            counts = _COUNT[kind] = next((part for base, part in _BASES.items() if issubclass(kind, base)), None)
        self.time_line.add(event)
        if counts is not None:
            counts(self, event)

    @property
    def events(self) -> int:
        """The number of events."""
        return self.kinds.total()

    @property
    def first(self) -> float | None:
        """The time of the first event."""
        return self._first if self.kinds else None

    @property
    def last(self) -> float | None:
        """The time of the last event."""
        return self._last if self.kinds else None

    def operation(self, name: str) -> Operation:
        """Return the counts of an operation."""
        found = self.operations.get(name)
        if found is None:
            name = name if len(self.operations) < OPERATIONS else OTHERS
            found = self.operations.setdefault(name, Operation(name))
        return found

    def warning(self) -> str:
        """Return `rules that warn: fetch delay: le(60) ×3`; empty if no rule warned."""
        total = Counter(self.warned)
        for event in self._warned.values():
            _add_warning(total, event)
        return f"rules that warn: {rules_by_rows(total)}" if total else ""

    def waiting(self) -> list[NotifyFailed]:
        """Return the last failure of each message that has not been delivered."""
        return [problem for _, problem in self.undelivered.values() if problem is not None]

    def spans(self) -> list[dict[str, Any]]:
        """Return for each circuit when it was open or half open, in the order of time."""
        found = []
        for name, changes in self.circuits.items():
            in_order = sorted(changes, key=lambda change: change[0])
            ends = [*(change[0] for change in in_order[1:]), None]
            spans = [
                {"state": state, "started": began, "ended": ended, "reason": reason}
                for (began, state, reason), ended in zip(in_order, ends, strict=True)
                if state != "closed"
            ]
            found.append({"name": name, "spans": spans})
        return found

    def balance(self) -> list[dict[str, Any]]:
        """Return how many rows of what was validated broke the schema, and what was done with them."""
        quarantined = [_batch(event) for event in self.batches]
        others = [
            {
                "operation": operation,
                "part": part,
                "rows": found["rows"],
                "invalid": found["invalid"],
                "action": action,
                "reasons": dict(found["reasons"]),
                "path": None,
            }
            for (operation, part, action), found in self.refused_rows.items()
        ]
        return [*quarantined, *others]

    def bounds(self) -> list[str]:
        """Return a remark for each list that is not complete; counts are."""
        lists = {
            "calls that were not recovered": self.not_recovered.left_out,
            "degraded calls": self.degraded.left_out,
            "recovered calls": self.recovered.left_out,
            "batches of quarantined rows": self.batches.left_out,
        }
        return [f"{what}: {count:,} more are counted, but not listed" for what, count in lists.items() if count]

    def _settle_warning(self, _: Any, event: RowsWarned) -> None:
        _add_warning(self.warned, event)

    def scheduled(self, event: RetryScheduled) -> None:
        operation = self.operation(event.operation)
        operation.retries += 1
        operation.waited += event.delay
        operation.errors[brief(event.error_type, event.http_status)] += 1
        self._take_up(event.of)

    def recover(self, event: RetryRecovered) -> None:
        self.operation(event.operation).recovered += 1
        line = self.time_line.find(event.call)
        self.recovered.put(
            (event.call or self.events, event.attempt),
            {
                "operation": event.operation,
                "call": event.call,
                "time": event.time,
                "attempts": event.attempt,
                "errors": dict(event.failures or event.errors),
                "waited_s": round(line.waited, 6) if line else 0.0,
            },
        )

    def exhausted(self, event: RetryExhausted) -> None:
        self._take_up(event.of, keep=True)

    def degrade(self, event: FallbackUsed) -> None:
        operation = self.operation(event.operation)
        operation.degraded += 1
        operation.errors[brief(event.error_type, event.http_status)] += 1
        if event.age is not None:
            self.old.add(f"{event.operation}: {age(event.age)} old")
        self._take_up(event.of)
        entry = {
            "operation": event.operation,
            "call": event.call,
            "time": event.time,
            "fallback": event.fallback,
            "error": event.error,
            "message": event.message,
            "http_status": event.http_status,
            "age_s": event.age,
            "since": event.since,
        }
        self.degraded.put((event.call or self.events, event.time), entry)

    def fail(self, event: CallFailed) -> None:
        operation = self.operation(event.operation)
        operation.errors[brief(event.error_type, event.http_status)] += 1
        if event.again:
            operation.retries += 1
            self._take_up(event.of)
            return
        operation.failed += 1
        origin = self._take_up(event.of, keep=True)
        if self._taken.pop(event.call, None):
            return
        self.failed += 1
        self._failed_calls.put(event.call, event.call)
        why = self._why(event)
        found = self.not_recovered.get(origin) if origin else None
        if found is not None and origin:
            gave_up = f"{event.operation} {why}, and" if why.startswith("gave up") else event.operation
            found["why"] += f"; {gave_up} failed with it"
            self._origins.put(event.call, origin)
            return
        self._origins.put(event.call, event.call)
        line = self.time_line.find(event.call)
        entry = {
            "operation": event.operation,
            "call": event.call,
            "time": event.time,
            "attempts": line.attempts[-1].number if line and line.attempts else 1,
            "error": event.error,
            "error_type": event.error_type,
            "message": event.message,
            "http_status": event.http_status,
            "kind": event.kind,
            "why": why,
        }
        self.not_recovered.put(event.call or self.events, entry)

    def _why(self, event: CallFailed) -> str:
        line = self.time_line.find(event.call)
        if line is not None and line.exhausted:
            return f"gave up after attempt {line.number}: {line.exhausted}"
        return f"not retried: {_KINDS.get(event.kind, event.kind)}"

    def _take_up(self, of: str | None, *, keep: bool = False) -> str | None:
        """Record that an enclosing call handled the failure of the call `of`; it is not counted as a failure itself.

        Args:
            of: the id of that call.
            keep: the failure goes on: keep its entry.

        Returns:
            The id of the call in which the failure began, if it is known.
        """
        if not of:
            return None
        origin = self._origins.get(of)
        if self._failed_calls.pop(of, None) is not None:
            self.failed -= 1
        elif not keep or origin is None:
            self._taken.put(of, True)
        if not keep and origin is not None:
            self.not_recovered.pop(origin)
        return origin

    def row_batch(self, event: RowsQuarantined) -> None:
        key = hash(event.path)  # a million paths would take too much memory
        added = event.invalid - self._of_files.get(key, 0)
        self._of_files[key] = event.invalid
        self.operation(event.operation).quarantined += added
        self.quarantined += added
        if event.invalid:
            self.batches.put(event.path, event)
        else:
            self.batches.pop(event.path)

    def rows(self, event: RowsInvalid) -> None:
        self.operation(event.operation).invalid_rows += event.invalid
        key = event.operation, event.part, event.action
        if key not in self.refused_rows and len(self.refused_rows) >= OPERATIONS:
            return
        found = self.refused_rows.setdefault(key, {"rows": 0, "invalid": 0, "reasons": Counter()})
        found["rows"] += event.rows
        found["invalid"] += event.invalid
        found["reasons"].update(event.reasons)

    def rules_warned(self, event: RowsWarned) -> None:
        self._warned.put((event.call, event.operation, event.part), event)

    def timed_out(self, event: TimeoutExceeded) -> None:
        if event.stopped:
            return
        if event.abandoned:
            self.abandoned.add(f"{event.operation} in {place(event.thread)}")
        else:
            self.late.add(f"{event.operation}: {event.reason or 'late'}")
        if len(self.not_stopped) < FAILURES:
            about = {"limit_s": event.limit, "thread": event.thread or None, "reason": event.reason}
            self.not_stopped.append({"operation": event.operation, "time": event.time, **about})

    def circuit(self, event: BreakerOpened | BreakerHalfOpened | BreakerClosed) -> None:
        state = _STATES[type(event)]
        if event.breaker in self.circuits or len(self.circuits) < CIRCUITS:
            changes = self.circuits.setdefault(event.breaker, [])
            changes.append((event.time, state, event.reason))
            if len(changes) > CIRCUITS:
                del changes[CIRCUITS // 2]

    def rate_limited(self, event: RateLimitReached) -> None:
        if not event.refused:
            self.limited[0] += 1
            self.limited[1] += event.delay

    def rate_adapted(self, event: RateAdapted) -> None:
        if event.limit in self.adapted or len(self.adapted) < OPERATIONS:
            found = self.adapted.setdefault(event.limit, [0, event.rate, event.per])
            found[0] += 1
            if event.rate / event.per < found[1] / found[2]:
                found[1:] = [event.rate, event.per]

    def joined(self, event: FlightJoined) -> None:
        (self.waited if event.outcome == "deadline" else self.shared).add(event.operation)

    def flew_alone(self, event: FlightAlone) -> None:
        self.alone.add(f"{event.operation}: {event.reason}")

    def last_good_lost(self, event: LastGoodUnavailable) -> None:
        self.lost.add(f"{event.operation}: {event.reason}")

    def undeliverable(self, event: NotifyFailed) -> None:
        self._settle_message(event, event)

    def sent(self, event: NotifySent) -> None:
        self._settle_message(event, None)

    def _settle_message(self, event: NotifyFailed | NotifySent, problem: NotifyFailed | None) -> None:
        """Record the newest event about a message: the files of several processes are read one after the other."""
        key = event.channel, event.key
        before = self.undelivered.get(key)
        if (before is None or before[0] <= event.time) and (before is not None or len(self.undelivered) < IDS):
            self.undelivered[key] = event.time, problem

    def api_away(self, event: ApiAway) -> None:
        if len(self.away) < FAILURES:
            self.away.append(event.sentence())

    def input_degraded(self, event: InputDegraded) -> None:
        self.inputs.add(f"{event.operation}: {event.reason}")

    def of_sink(self, event: SinkEvent) -> None:
        before = self.sinks.get(event.sink)
        if (before is None and len(self.sinks) < FAILURES) or (before is not None and before[0] <= event.time):
            self.sinks[event.sink] = event.time, event.sentence()

    def lost_store(self, event: StoreLost) -> None:
        self.store_lost.add(f"{event.store}: {event.message}")


def _batch(event: RowsQuarantined) -> dict[str, Any]:
    return {
        "operation": event.operation,
        "part": event.part,
        "rows": event.rows,
        "invalid": event.invalid,
        "action": event.action,
        "reasons": dict(event.reasons),
        "path": event.path,
    }


def _add_warning(total: Counter[str], event: RowsWarned) -> None:
    of = f"{event.part}: " if event.part else ""
    for rule, count in event.reasons.items():
        total[f"{event.operation} {of}{rule}"] += count


_STATES: dict[type[Event], str] = {BreakerOpened: "open", BreakerHalfOpened: "half_open", BreakerClosed: "closed"}
_KINDS = {
    "transient": "no policy retries it, although it is likely to pass",
    "throttled": "no policy retries it, although the service only asks for fewer calls",
    "timeout": "no policy retries it, although an answer only came too late",
    "malformed": "the data is malformed",
    "permanent": "it would fail again",
    "resource": "this machine lacks memory, disk or file handles, or the process died",
    "rejected": "it was not tried at all",
}
_BASES: dict[type[Event], Callable[[Tally, Any], None]] = {
    RetryScheduled: Tally.scheduled,
    RetryRecovered: Tally.recover,
    RetryExhausted: Tally.exhausted,
    FallbackUsed: Tally.degrade,
    CallFailed: Tally.fail,
    RowsQuarantined: Tally.row_batch,
    RowsInvalid: Tally.rows,
    RowsWarned: Tally.rules_warned,
    TimeoutExceeded: Tally.timed_out,
    BreakerOpened: Tally.circuit,
    BreakerHalfOpened: Tally.circuit,
    BreakerClosed: Tally.circuit,
    RateLimitReached: Tally.rate_limited,
    RateAdapted: Tally.rate_adapted,
    FlightJoined: Tally.joined,
    FlightAlone: Tally.flew_alone,
    LastGoodUnavailable: Tally.last_good_lost,
    NotifyFailed: Tally.undeliverable,
    NotifySent: Tally.sent,
    ApiAway: Tally.api_away,
    StoreLost: Tally.lost_store,
    SinkEvent: Tally.of_sink,
    InputDegraded: Tally.input_degraded,
}
_COUNT: dict[type[Event], Callable[[Tally, Any], None] | None] = dict(_BASES)
SUPPRESSED = (NotifySuppressed, NotifyKnown)
