"""The attempts that calls of this process share: the leading call, the waiting calls, and the outcome."""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.events import BulkheadRejected, Event, FallbackUsed, RetryExhausted, TimeoutExceeded, run_ids
from resilient_tasks.core.execution.bells import Bell

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call
    from resilient_tasks.core.outcome import Outcome


class Role(enum.Enum):
    """The part of a call in a flight."""

    LEADS = "it makes the attempt"
    WAITS = "it waits for the outcome of the attempt"
    LANDED = "the attempt has ended"
    ALONE = "the attempt waits for this very call, so it must not wait for the attempt"


class Audience(enum.Enum):
    """Which of the waiting calls get the outcome of an attempt."""

    ALL = "all of them"
    RETRIED = "those that are retried after a failure, too"
    NONE = "none: a limit around the leader alone caused it"


class LeaderEvents:
    """The events of a leader's attempt that matter to waiting calls. A sink.

    Attributes:
        stand_in: from an event, the name of the stand-in, and the age of an earlier result.
        cut: a deadline ended the attempt, or kept it from another try.
    """

    def __init__(self) -> None:
        self.stand_in: dict[str, Any] = {"fallback": ""}
        self.cut: bool = False

    def __call__(self, event: Event) -> None:
        if isinstance(event, FallbackUsed):
            self.stand_in = {"fallback": event.fallback, "age": event.age, "since": event.since}
        elif isinstance(event, TimeoutExceeded):
            self.cut = self.cut or event.policy == "deadline"
        elif isinstance(event, RetryExhausted | BulkheadRejected):
            self.cut = self.cut or "deadline" in event.reason


class Flight:
    """One attempt that calls share.

    Attributes:
        leader: the call that makes it; None after it left, until another one takes its place.
        run: ids of the run that the leader is part of.
        landed: its outcome for the waiting calls; None before that.
        audience: once it has landed, which waiting calls get the outcome.
        events: those of the leader's attempt.
        key: under which calls find it.
        waiting: by waiting call, the bell that wakes it.
    """

    audience: Audience

    def __init__(self, key: Hashable) -> None:
        self.leader: Call | None = None
        self.run: dict[str, str] = {}
        self.landed: Outcome[object] | None = None
        self.events: LeaderEvents = LeaderEvents()
        self.key = key
        self.waiting: dict[Call, Bell] = {}

    @property
    def name(self) -> str:
        """The leader, as it is named in events and notes."""
        task_run = self.run.get("task_run")
        if task_run:
            return f"task run {task_run}"
        return "another call" if self.leader is None else f"call {self.leader.work.id}"


class Flights:
    """All current flights of this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start empty, as a forked child does: the leading threads are its parent's."""
        # Reentrant: garbage collection of a coroutine leaves its flight in any thread, at any time.
        self._lock = threading.RLock()
        self._under_way: dict[Hashable, Flight] = {}
        self._led: dict[Call, Flight] = {}
        #: By call that waits inside leading calls: the flight that it waits for, and the flights that it delays.
        self._delayed: dict[Call, tuple[Flight, frozenset[Flight]]] = {}

    def join(self, key: Hashable, call: Call, make: Callable[[], Bell]) -> tuple[Flight, Role]:
        """Let a call lead the flight under `key`, or wait for it with a bell from `make`."""
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None:
                flight = self._under_way[key] = Flight(key)
            if self._takes_lead(flight, call):
                return flight, Role.LEADS
            delays = frozenset(self._led[outer] for outer in _around(call) if outer in self._led)
            if delays and self._depends_on(flight, delays):
                return flight, Role.ALONE
            flight.waiting[call] = make()
            if delays:
                self._delayed[call] = flight, delays
            return flight, Role.WAITS

    def role_of(self, flight: Flight, call: Call) -> Role:
        """Return the role of a waiting call now."""
        with self._lock:
            if flight.landed is not None:
                return Role.LANDED
            return Role.LEADS if self._takes_lead(flight, call) else Role.WAITS

    def leave(self, flight: Flight, call: Call) -> None:
        """Remove a call from a flight.

        If it leads and has not landed, it was cancelled or interrupted: another call leads instead.
        """
        with self._lock:
            flight.waiting.pop(call, None)
            self._delayed.pop(call, None)
            if flight.leader is call and flight.landed is None:
                self._led.pop(call, None)
                flight.leader = None
                _wake(flight)
            if flight.leader is None and not flight.waiting:
                self._end(flight)

    def is_awaited(self, flight: Flight, call: Call) -> bool:
        """Return whether calls wait for this leader; if none does, end its flight."""
        with self._lock:
            if flight.leader is not call or call.fenced:
                return False
            if not flight.waiting:
                self._end(flight)
                return False
            return True

    def land(self, flight: Flight, call: Call, outcome: Outcome[object], audience: Audience) -> None:
        """Give the outcome of the leader's attempt to the waiting calls. Do nothing if another call leads now."""
        with self._lock:
            if flight.leader is call:
                flight.audience = audience
                flight.landed = outcome
                self._end(flight)
                _wake(flight)

    def _takes_lead(self, flight: Flight, call: Call) -> bool:
        """Let the call lead if its outcome still matters, and no other call leads whose outcome still matters."""
        if call.fenced:
            return False
        if flight.leader is not None:
            if not flight.leader.fenced:
                return False
            self._led.pop(flight.leader, None)
        flight.leader, flight.run, flight.events = call, dict(run_ids()), LeaderEvents()
        flight.waiting.pop(call, None)
        self._delayed.pop(call, None)
        self._led[call] = flight
        return True

    def _depends_on(self, flight: Flight, delayed: frozenset[Flight]) -> bool:
        """Return whether `flight` cannot end before one of `delayed` has."""
        seen: set[Flight] = set()
        todo = [flight]
        while todo:
            each = todo.pop()
            if each in delayed:
                return True
            if each not in seen:
                seen.add(each)
                todo += [waits_for for waits_for, delays in self._delayed.values() if each in delays]
        return False

    def _end(self, flight: Flight) -> None:
        if flight.leader is not None:
            self._led.pop(flight.leader, None)
        if self._under_way.get(flight.key) is flight:
            del self._under_way[flight.key]


def _wake(flight: Flight) -> None:
    for bell in list(flight.waiting.values()):
        bell.ring()


def _around(call: Call) -> Iterator[Call]:
    outer = call.parent
    while outer is not None:
        yield outer
        outer = outer.parent


flights: Flights = Flights()

#: Reported reasons for unshared calls, by operation. Beyond `_MOST`, the oldest are forgotten and reported again.
_reported: dict[tuple[str, str], None] = {}
_MOST = 1024


def is_news(operation: str, reason: str) -> bool:
    """Return whether this was not reported yet."""
    if (operation, reason) in _reported:
        return False
    _reported[operation, reason] = None
    if len(_reported) > _MOST:
        _reported.pop(next(iter(_reported)), None)
    return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=flights.forget)
