"""Everything that can happen to a call, one frozen dataclass each, and the bus that carries it to the sinks.

Field names follow OpenTelemetry's conventions where those have one: `Event.as_dict()` gives `error.type`,
`exception.message` and `retry.delay_s` for the attributes `error_type`, `message` and `delay`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger = logging.getLogger("resilient_tasks")

#: Every event by its name, for tools that read `events.jsonl` back.
EVENTS: dict[str, type[Event]] = {}

_identify: Callable[[], Mapping[str, str]] = dict


def identify_runs_by(provider: Callable[[], Mapping[str, str]]) -> None:
    """Have every event bear the ids of the run it happens in (`flow_run_id`, `task_run_id`, ...)."""
    global _identify  # noqa: PLW0603  # one orchestrator a process
    _identify = provider


def run_ids() -> Mapping[str, str]:
    """Return the ids of the run that this code is part of; empty outside of any."""
    return _identify()


def _named(name: str) -> Any:
    return field(metadata={"name": name})


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Something that happened: `operation` is the function, `attempt` counts from 1, `time` is in unix seconds."""

    name: ClassVar[str] = ""
    level: ClassVar[int] = logging.WARNING

    operation: str
    attempt: int = 1
    call: str = ""
    time: float = field(default_factory=time.time)
    run: Mapping[str, str] = field(default_factory=run_ids)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # dataclass(slots=True) builds the class a second time, and the second is the one that lasts.
        super(Event, cls).__init_subclass__(**kwargs)
        if cls.name:
            EVENTS[cls.name] = cls

    def as_dict(self) -> dict[str, Any]:
        """Return the event as a flat mapping that JSON can hold, its run ids merged in."""
        named = {part.metadata.get("name", part.name): getattr(self, part.name) for part in fields(self)}
        return {"event.name": self.name, **named.pop("run"), **named}

    def sentence(self) -> str:
        """Say in one line what happened."""
        return self.name


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryScheduled(Event):
    """Attempt number `attempt` failed, and another one follows after `delay` seconds."""

    name: ClassVar[str] = "retry.scheduled"
    attempts: int | None
    kind: str
    error_type: str = _named("error.type")
    message: str = _named("exception.message")
    delay: float = _named("retry.delay_s")

    def sentence(self) -> str:
        of = f" of {self.attempts}" if self.attempts else ""
        return f"attempt {self.attempt}{of}: {self.error_type}; waits {self.delay:.1f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryStarted(Event):
    """The wait is over: attempt number `attempt` begins."""

    name: ClassVar[str] = "retry.started"
    level: ClassVar[int] = logging.DEBUG
    attempts: int | None

    def sentence(self) -> str:
        return f"attempt {self.attempt}{f' of {self.attempts}' if self.attempts else ''}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryRecovered(Event):
    """Attempt number `attempt` succeeded after others had failed; `errors` counts those by type."""

    name: ClassVar[str] = "retry.recovered"
    level: ClassVar[int] = logging.INFO
    attempts: int | None
    errors: Mapping[str, int]

    def sentence(self) -> str:
        of = f" of {self.attempts}" if self.attempts else ""
        return f"recovered on attempt {self.attempt}{of} ({counted(self.errors)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryExhausted(Event):
    """No further attempt follows, and `reason` says why."""

    name: ClassVar[str] = "retry.exhausted"
    reason: str
    kind: str
    errors: Mapping[str, int]
    error_type: str = _named("error.type")
    message: str = _named("exception.message")

    def sentence(self) -> str:
        return f"gave up after attempt {self.attempt}: {self.reason} ({counted(self.errors)})"


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeoutExceeded(Event):
    """An attempt exceeded `limit` seconds. `stopped` tells whether the work was really interrupted.

    Where it was not, `reason` says why, if that is known; an attempt that was abandoned runs on in `thread`.
    """

    name: ClassVar[str] = "timeout.exceeded"
    policy: str
    limit: float = _named("timeout.limit_s")
    stopped: bool
    abandoned: bool
    thread: str = field(default="", metadata={"name": "thread.name"})
    reason: str = field(default="", metadata={"name": "timeout.reason"})

    def sentence(self) -> str:
        fate = "stopped" if self.stopped else "not stopped"
        why = f" ({self.reason})" if self.reason else ""
        where = f" in the thread {self.thread}" if self.thread else ""
        running = f", still running{where}" if self.abandoned else ""
        return f"{self.policy} of {self.limit:g} s exceeded; {fate}{why}{running}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FallbackUsed(Event):
    """The call failed, and `fallback` gave the result in its place."""

    name: ClassVar[str] = "fallback.used"
    fallback: str
    kind: str
    error_type: str = _named("error.type")
    message: str = _named("exception.message")

    def sentence(self) -> str:
        return f"degraded: {self.fallback} stands in after {self.error_type}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsInvalid(Event):
    """Of `rows` rows, `invalid` did not satisfy the schema; `action` is what was done with them."""

    name: ClassVar[str] = "rows.invalid"
    action: str
    rows: int
    invalid: int
    reasons: Mapping[str, int]

    def sentence(self) -> str:
        return f"{self.invalid:,} of {self.rows:,} rows invalid: {self.action}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsQuarantined(RowsInvalid):
    """As `RowsInvalid`; the bad rows lie in the file `path` with their reasons, as the quarantine's batch `batch`.

    Each attempt of a call replaces that file: with 0 invalid rows it is gone. `schema` is where the schema can be
    imported from (`module:name`), if that is known.
    """

    name: ClassVar[str] = "rows.quarantined"
    path: str
    batch: str
    schema: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DataDrifted(Event):
    """Of a frame of `rows` rows, `columns` do not look like the baseline, or could not be judged: a sentence for each.

    `action` is what the gate asked for: `"warn"`, `"branch"` or `"stop"`; `"pass"` where only too few rows are to tell.
    """

    name: ClassVar[str] = "data.drifted"
    action: str
    rows: int
    columns: Mapping[str, str]
    message: str

    def sentence(self) -> str:
        return f"drift ({self.action}): {self.message}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryMultiplied(Event):
    """Loops of attempts surround each other: `stack` names them, outermost first.

    `attempts` is their product, 0 where one of them is limited by no number.
    """

    name: ClassVar[str] = "retry.multiplied"
    attempts: int
    stack: tuple[str, ...]

    def sentence(self) -> str:
        product = f"up to {self.attempts}" if self.attempts else "any number of"
        return f"retries multiply: {' × '.join(self.stack)} = {product} attempts; keep one of these loops"


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerOpened(Event):
    """The circuit `breaker` lets no call through for the next `open_for` seconds; None: until somebody closes it."""

    name: ClassVar[str] = "breaker.opened"
    breaker: str
    reason: str
    open_for: float | None = _named("breaker.open_for_s")

    def sentence(self) -> str:
        until = f"for {self.open_for:g} s" if self.open_for is not None else "until it is closed"
        return f"circuit {self.breaker} opened {until}: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerHalfOpened(Event):
    """The circuit `breaker` was open long enough: a few calls are let through, to see how they fare."""

    name: ClassVar[str] = "breaker.half_opened"
    level: ClassVar[int] = logging.INFO
    breaker: str
    reason: str

    def sentence(self) -> str:
        return f"circuit {self.breaker} is half open, to be tried: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakerClosed(Event):
    """The circuit `breaker` lets calls through again; it had let none for `seconds` (probes apart)."""

    name: ClassVar[str] = "breaker.closed"
    level: ClassVar[int] = logging.INFO
    breaker: str
    reason: str
    seconds: float = _named("breaker.was_open_s")

    def sentence(self) -> str:
        return f"circuit {self.breaker} closed after {self.seconds:.1f} s: {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RateLimitReached(Event):
    """The rate limit `limit` made this call wait for `delay` seconds; or it was `refused`, as that was too long."""

    name: ClassVar[str] = "rate.limited"
    level: ClassVar[int] = logging.INFO
    limit: str
    refused: bool
    delay: float = _named("rate.delay_s")

    def sentence(self) -> str:
        if self.refused:
            return f"rate limit {self.limit}: refused, {self.delay:.1f} s of waiting would be too long"
        return f"rate limit {self.limit}: waits {self.delay:.1f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class BulkheadRejected(Event):
    """All `limit` slots of the bulkhead `bulkhead` were taken, and this call got none: `reason` says why."""

    name: ClassVar[str] = "bulkhead.rejected"
    bulkhead: str
    limit: int
    queued: int
    reason: str

    def sentence(self) -> str:
        return f"bulkhead {self.bulkhead} is full: {self.limit} calls under way, {self.queued} waiting; {self.reason}"


@dataclass(frozen=True, kw_only=True, slots=True)
class HedgeStarted(Event):
    """No answer within `after` seconds: the same call was made once more, beside the first, as number `number`."""

    name: ClassVar[str] = "hedge.started"
    level: ClassVar[int] = logging.DEBUG
    number: int
    after: float = _named("hedge.after_s")

    def sentence(self) -> str:
        return f"no answer for {self.after:g} s: called once more, as number {self.number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class HedgeWon(Event):
    """Call number `number` of those made side by side answered first, `seconds` after the first was made."""

    name: ClassVar[str] = "hedge.won"
    level: ClassVar[int] = logging.INFO
    number: int
    seconds: float = _named("hedge.answered_after_s")

    def sentence(self) -> str:
        return f"call number {self.number} answered first, after {self.seconds:.3f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreLost(Event):
    """The store of shared states does not answer: until it does, each process goes by its own memory."""

    name: ClassVar[str] = "store.lost"
    store: str
    message: str

    def sentence(self) -> str:
        return f"{self.store} does not answer ({self.message}): this process goes by its own memory until it does"


@dataclass(frozen=True, kw_only=True, slots=True)
class StoreRegained(Event):
    """The store of shared states answers again, after `seconds`."""

    name: ClassVar[str] = "store.regained"
    level: ClassVar[int] = logging.INFO
    store: str
    seconds: float = _named("store.was_gone_s")

    def sentence(self) -> str:
        return f"{self.store} answers again after {self.seconds:.1f} s: state is shared as before"


@dataclass(frozen=True, kw_only=True, slots=True)
class ChaosInjected(Event):
    """A rehearsal made this call fail, wait or return something else on purpose."""

    name: ClassVar[str] = "chaos.injected"
    level: ClassVar[int] = logging.INFO
    fault: str

    def sentence(self) -> str:
        return f"injected {self.fault}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CallFailed(Event):
    """Nothing helped: the caller gets the error."""

    name: ClassVar[str] = "call.failed"
    level: ClassVar[int] = logging.ERROR
    kind: str
    error_type: str = _named("error.type")
    message: str = _named("exception.message")

    def sentence(self) -> str:
        return f"failed with {self.error_type}: {self.message}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifySent(Event):
    """A channel accepted a message."""

    name: ClassVar[str] = "notify.sent"
    level: ClassVar[int] = logging.INFO
    channel: str

    def sentence(self) -> str:
        return f"told {self.channel}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifySuppressed(Event):
    """A message like this one went out within the cool-down: this one was counted, not sent."""

    name: ClassVar[str] = "notify.suppressed"
    level: ClassVar[int] = logging.DEBUG
    channel: str
    suppressed: int

    def sentence(self) -> str:
        return f"did not tell {self.channel} again: {self.suppressed} since it was told"


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifyFailed(Event):
    """A channel did not accept a message within its deadline: nobody was told."""

    name: ClassVar[str] = "notify.failed"
    level: ClassVar[int] = logging.ERROR
    channel: str
    error_type: str = _named("error.type")
    message: str = _named("exception.message")

    def sentence(self) -> str:
        return f"could not notify {self.channel}: {self.error_type}: {self.message}"


Sink = Callable[[Event], None]


class Bus:
    """Carries events to its sinks, in the thread in which they happen. A sink that raises is reported, never felt."""

    def __init__(self) -> None:
        self._sinks: tuple[Sink, ...] = ()

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Add a sink; the result takes it away again."""
        self._sinks = (*self._sinks, sink)

        def unsubscribe() -> None:
            self._sinks = tuple(other for other in self._sinks if other is not sink)

        return unsubscribe

    @contextmanager
    def listening(self, sink: Sink) -> Iterator[None]:
        """Have `sink` receive what happens inside the block."""
        unsubscribe = self.subscribe(sink)
        try:
            yield
        finally:
            unsubscribe()

    def emit(self, event: Event, *more: Sink) -> None:
        """Hand `event` to every sink, and to those in `more`."""
        for sink in (*self._sinks, *more):
            try:
                sink(event)
            except Exception:
                _logger.exception("the sink %r failed on %s", sink, event.name)


#: The one bus of this process.
bus = Bus()


def counted(errors: Mapping[str, int]) -> str:
    """Join counts of errors into the form `ConnectError ×2, TimedOut`."""
    return ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in errors.items())
