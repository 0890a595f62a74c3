"""The attempts that calls of this process share: who makes each, who waits for it, and what came of it."""

from __future__ import annotations

import enum
import os
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.bells import Bell
from resilient_tasks.core.events import BulkheadRejected, Event, FallbackUsed, RetryExhausted, TimeoutExceeded, run_ids

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call
    from resilient_tasks.core.outcome import Outcome


class Seat(enum.Enum):
    """What a call is to do about a flight."""

    LEADS = "it makes the attempt"
    WAITS = "it waits for what comes of the attempt"
    LANDED = "the attempt has ended"
    ALONE = "the attempt waits for this very call, so it must not wait for the attempt"


class Audience(enum.Enum):
    """Whom what came of an attempt is for, of those who wait for it."""

    ALL = "all of them"
    RETRIED = "those whose failure is not the last word either"
    NONE = "none: a limit around the leader alone has brought it about"


class Heard:
    """What a leader's attempt told, as far as it matters to those who wait. A sink.

    Attributes:
        stand_in: what an event says of what stood in: its name, and the age of an earlier result.
        cut: a deadline ended the attempt, or kept it from another try.
    """

    def __init__(self) -> None:
        self.stand_in: dict[str, Any] = {"fallback": ""}
        self.cut = False

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
        leader: the call that makes it; None after that has gone, until another one takes its place.
        run: ids of the run that the leader is part of.
        landed: what came of it, to be handed to those who wait; None before that.
        audience: for whom of them that is.
        heard: what the leader's attempt told.
        key: by which calls find it.
        waiting: by call that waits, what wakes it.
    """

    def __init__(self, key: Hashable) -> None:
        self.leader: Call | None = None
        self.run: dict[str, str] = {}
        self.landed: Outcome[object] | None = None
        self.audience = Audience.ALL
        self.heard = Heard()
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
    """All flights that are under way in this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child does: the threads that lead are its parent's."""
        # Reentrant: a coroutine that is collected as garbage leaves its flight in whatever thread is at work just then.
        self._lock = threading.RLock()
        self._under_way: dict[Hashable, Flight] = {}
        self._led: dict[Call, Flight] = {}
        #: By call that waits inside of calls that lead, which flight it waits for, and those that it holds up.
        self._held_up: dict[Call, tuple[Flight, frozenset[Flight]]] = {}

    def board(self, key: Hashable, call: Call, make: Callable[[], Bell]) -> tuple[Flight, Seat]:
        """Have a call lead the flight under `key`, or wait for it with a bell that `make` makes."""
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None:
                flight = self._under_way[key] = Flight(key)
            if self._takes_lead(flight, call):
                return flight, Seat.LEADS
            holds_up = frozenset(self._led[outer] for outer in _around(call) if outer in self._led)
            if holds_up and self._depends_on(flight, holds_up):
                return flight, Seat.ALONE
            flight.waiting[call] = make()
            if holds_up:
                self._held_up[call] = flight, holds_up
            return flight, Seat.WAITS

    def look(self, flight: Flight, call: Call) -> Seat:
        """Return what a call that waits is to do now."""
        if flight.landed is not None:
            return Seat.LANDED
        with self._lock:
            if flight.landed is not None:
                return Seat.LANDED
            return Seat.LEADS if self._takes_lead(flight, call) else Seat.WAITS

    def leave(self, flight: Flight, call: Call) -> None:
        """Take note that a call has to do with this flight no more.

        If it leads, and has not landed, it was cancelled or interrupted: another one leads in its place.
        """
        with self._lock:
            flight.waiting.pop(call, None)
            self._held_up.pop(call, None)
            if flight.leader is call and flight.landed is None:
                self._led.pop(call, None)
                flight.leader = None
                _ring(flight)
            if flight.leader is None and not flight.waiting:
                self._end(flight)

    def is_awaited(self, flight: Flight, call: Call) -> bool:
        """Return whether calls wait for what this leader has; if none does, its flight ends here."""
        with self._lock:
            if flight.leader is not call or call.fenced:
                return False
            if not flight.waiting:
                self._end(flight)
                return False
            return True

    def land(self, flight: Flight, call: Call, outcome: Outcome[object], audience: Audience) -> None:
        """Hand what came of the leader's attempt to those who wait; nothing, if another one leads by now."""
        with self._lock:
            if flight.leader is call:
                flight.audience = audience
                flight.landed = outcome
                self._end(flight)
                _ring(flight)

    def _takes_lead(self, flight: Flight, call: Call) -> bool:
        """Have the call lead, if no call does whose outcome still matters, and that of this one does."""
        if call.fenced:
            return False
        if flight.leader is not None:
            if not flight.leader.fenced:
                return False
            self._led.pop(flight.leader, None)
        flight.leader, flight.run, flight.heard = call, dict(run_ids()), Heard()
        flight.waiting.pop(call, None)
        self._held_up.pop(call, None)
        self._led[call] = flight
        return True

    def _depends_on(self, flight: Flight, held_up: frozenset[Flight]) -> bool:
        """Return whether `flight` cannot end before one of `held_up` has."""
        seen: set[Flight] = set()
        todo = [flight]
        while todo:
            each = todo.pop()
            if each in held_up:
                return True
            if each not in seen:
                seen.add(each)
                todo += [waits_for for waits_for, holds_up in self._held_up.values() if each in holds_up]
        return False

    def _end(self, flight: Flight) -> None:
        if flight.leader is not None:
            self._led.pop(flight.leader, None)
        if self._under_way.get(flight.key) is flight:
            del self._under_way[flight.key]


def _ring(flight: Flight) -> None:
    for bell in list(flight.waiting.values()):
        bell.ring()


def _around(call: Call) -> Iterator[Call]:
    outer = call.parent
    while outer is not None:
        yield outer
        outer = outer.parent


flights = Flights()

#: What was told of operations whose calls are not shared; of more of them, the first are told again.
_told: dict[tuple[str, str], None] = {}
_MOST = 1024


def is_news(operation: str, reason: str) -> bool:
    """Return whether this is the first time that this is to be told."""
    if (operation, reason) in _told:
        return False
    _told[operation, reason] = None
    if len(_told) > _MOST:
        _told.pop(next(iter(_told)), None)
    return True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=flights.forget)
