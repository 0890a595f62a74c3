"""The sinks of a bus: each with its filter, and suspended while it fails or is slow.

    working ──(FAILURES errors, or SLOW_CALLS slow calls, in a row)──▶ suspended ──(PAUSE is over: one event)──▶ working
                                                                          ▲                  │
                                                                          └──(it fails)──────┘ for twice as long

A slow sink cannot be interrupted, since it runs in the thread that emits the event: it is measured, and then cut off.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import ClassVar

from resilient_tasks.core.events.event import Event, named
from resilient_tasks.core.wording import name_of, number_of

Sink = Callable[[Event], None]
#: Returns whether a sink receives events of a class.
Wants = Callable[[type[Event]], bool]

#: This number of errors in a row suspends a sink.
FAILURES = 5
#: A call that takes more seconds is slow, by default; this number of slow calls in a row suspends a sink.
SLOW, SLOW_CALLS = 1.0, 3
#: Seconds until a suspended sink is tried again; doubles with each failed trial, up to the second number.
PAUSE, LONGEST_PAUSE = 30.0, 600.0

_OPERATION = "sinks"


class SinkEvent(Event):
    """An event about a sink. A suspended sink is not tried again with one: two bad sinks would report each other."""

    sink: str
    lost: int


class SinkSuspended(SinkEvent):
    """The sink `sink` gets no event for `retry_in` seconds, for `reason`; so far it has lost `lost` events.

    Emitted again each time that a trial fails.
    """

    name: ClassVar[str] = "sink.suspended"
    reason: str
    retry_in: float = named("sink.retry_in_s")

    def sentence(self) -> str:
        lost = f", {number_of(self.lost, 'event')} lost so far" if self.lost else ""
        return f"sink {self.sink} is suspended for {self.retry_in:g} s: {self.reason}{lost}"


class SinkResumed(SinkEvent):
    """The sink `sink` works again after `seconds`, and has lost `lost` events since its first error."""

    name: ClassVar[str] = "sink.resumed"
    level: ClassVar[int] = logging.INFO
    seconds: float = named("sink.was_suspended_s")

    def sentence(self) -> str:
        lost = number_of(self.lost, "event")
        return f"sink {self.sink} works again after {self.seconds:.1f} s; {lost} lost"


def all_events(_: type[Event]) -> bool:
    """Want every event."""
    return True


class Subscription:
    """A sink, its filter, and how it is doing. Times are seconds on the clock in use.

    Attributes:
        sink: is called with each event.
        wants: returns whether it receives events of a class.
        name: for people and metrics.
        essential: it is never suspended.
        slow: a call that takes more seconds is slow.
        is_troubled: its last call failed or was slow, or it is suspended: to be called with care.
        errors: how many calls have failed.
        lost: how many events it has not received, or failed to handle.
    """

    __slots__ = (
        *("_failures", "_lost_before", "_pause", "_slow", "_suspended", "_trial", "_until"),
        *("errors", "essential", "is_troubled", "lost", "name", "sink", "slow", "wants"),
    )

    def __init__(
        self, sink: Sink, wants: Wants = all_events, *, name: str = "", essential: bool = False, slow: float = SLOW
    ) -> None:
        self.sink: Sink = sink
        self.wants: Wants = wants
        self.name: str = name or _name_of(sink)
        self.essential: bool = essential
        self.slow: float = slow
        self.is_troubled: bool = False
        self.errors: int = 0
        self.lost: int = 0
        self._failures = self._slow = self._lost_before = 0
        self._pause = PAUSE
        self._suspended: float | None = None  # since when
        self._until = 0.0
        self._trial = False

    def admit(self, now: float, *, as_trial: bool) -> bool | None:
        """Return None if it may not be called now; else, whether the call is the trial of a suspended sink.

        Args:
            now: the time.
            as_trial: whether this event may be a trial. There is one at a time, once the pause is over.
        """
        with _changing:
            if self._suspended is None:
                return False
            if self._trial or not as_trial or now < self._until:
                return None
            self._trial = True
            return True

    def lose(self) -> None:
        """Count an event that it does not receive."""
        with _changing:
            self.lost += 1

    def give_back_trial(self) -> None:
        """End a trial without a result: the call was interrupted."""
        with _changing:
            self._trial = False

    def succeeded(self, now: float, took: float, *, trial: bool = False) -> SinkEvent | None:
        """Record a call without an error, and return the event about it, if any."""
        with _changing:
            if took > self.slow:
                return self._judge(now, took, "", trial=trial)
            if self._suspended is not None and not trial:  # another thread suspended it during this call
                return None
            since, lost = self._suspended, self.lost - self._lost_before
            self._failures = self._slow = 0
            self._suspended, self._trial, self._pause, self._lost_before = None, False, PAUSE, self.lost
            self.is_troubled = False
        if since is None:
            return None
        return SinkResumed(operation=_OPERATION, sink=self.name, lost=lost, seconds=now - since)

    def failed(self, now: float, took: float, error: Exception, *, trial: bool = False) -> SinkEvent | None:
        """Record a call with an error: its event is lost. Return the event about it, if any."""
        with _changing:
            self.lost += 1
            self.errors += 1
            return self._judge(now, took, type(error).__name__, trial=trial)

    @property
    def report_error(self) -> bool:
        """Whether the last error is to be logged: the first ones, and then ever fewer."""
        rest = self.errors
        while rest > FAILURES and rest % 2 == 0:
            rest //= 2
        return rest <= FAILURES

    def _judge(self, now: float, took: float, error: str, *, trial: bool) -> SinkEvent | None:
        """Count a bad call. Suspend the sink after several, or after its trial."""
        self.is_troubled = True
        self._failures = self._failures + 1 if error else 0
        self._slow = self._slow + 1 if took > self.slow else 0
        if self.essential or (self._suspended is not None and not trial):
            return None
        if trial:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            reason = f"tried again, it failed with {error}" if error else f"tried again, it took {took:.1f} s"
        elif self._failures >= FAILURES:
            reason = f"{self._failures} errors in a row, the last one {error}"
        elif self._slow >= SLOW_CALLS:
            reason = f"{self._slow} calls in a row took more than {self.slow:g} s, the last one {took:.1f} s"
        else:
            return None
        self._failures, self._slow, self._trial = 0, 0, False
        self._suspended = now if self._suspended is None else self._suspended
        self._until = now + self._pause
        lost = self.lost - self._lost_before
        return SinkSuspended(operation=_OPERATION, sink=self.name, lost=lost, reason=reason, retry_in=self._pause)


def _name_of(sink: Sink) -> str:
    try:
        return name_of(sink)
    except Exception:  # an object of the user's whose attributes raise
        return type(sink).__name__


#: Held while a subscription changes. Reentrant: a signal handler may emit an event at any time.
_changing = threading.RLock()


def _replace_after_fork() -> None:
    global _changing  # noqa: PLW0603  # another thread of the parent may hold it
    _changing = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_after_fork)
