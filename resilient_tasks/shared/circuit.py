"""A circuit that calls share."""

from __future__ import annotations

import itertools
import math
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from resilient_tasks.core import clock, settings
from resilient_tasks.core.call import Leave
from resilient_tasks.core.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event, bus
from resilient_tasks.machines.circuit import Circuit, Pass, Refusal, Rules, Seen, Successes
from resilient_tasks.shared.states import States

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call

T = TypeVar("T")

#: Why a person's circuit took its position, and in events the place of a function's name.
BY_HAND = "by hand"

#: Seconds for which a circuit is kept that no call asks for: one that is as good as new, and any other, after the time
#: for which it is open.
_LITTLE_KEPT, _KEPT = 86_400.0, 30 * 86_400.0

Tell = Callable[..., None]


class TurnLeave(Leave):
    """Leave for any call of one turn. Where only failures in a row count, a success among successes is no news."""

    __slots__ = ("turn",)

    def __init__(self, key: str, turn: Pass) -> None:
        super().__init__(key)
        self.turn = turn


class _Counted(TurnLeave):
    """The same where successes are counted."""

    __slots__ = ("succeeded",)

    def __init__(self, key: str, turn: Pass, count: Callable[[], object]) -> None:
        super().__init__(key, turn)
        self.succeeded = count


class SharedCircuit:
    """A circuit as this process knows it, and the successes that it has not told yet.

    Attributes:
        known: the circuit when the store was asked last.
        leave: for a call that is made at once, where a success need not be told.
        leave_and_count: the same, where successes are counted, to be told later.
    """

    leave: TurnLeave
    leave_and_count: TurnLeave

    def __init__(self, shared: States, key: str) -> None:
        self.known = Circuit()
        self._name = key.partition("/")[2]
        self._states = shared
        self._key = key
        self._fresh_until = self._tell_from = -math.inf
        self._lock = threading.Lock()
        self._count = itertools.count().__next__  # one step of C: no thread waits for another
        self._told = 0
        self._last = 0.0
        self._rules: Rules | None = None
        self.was_used = False
        self._give_leave()

    def is_well(self, rules: Rules) -> bool:
        """Whether a call may be made without asking the store: it was closed, and not long ago."""
        known = self.known
        if clock.now() >= self._fresh_until or known.position != "closed":
            return False
        # Failures in a row are to be exact: the store is asked while there are any.
        return known.run == 0 or rules.failures is None

    def admit(self, rules: Rules, call: Call) -> Pass | Refusal:
        """Ask leave for a call."""
        if self.is_well(rules):
            return Pass(self.known.turn)
        # Named anew each time: a call may ask more than once.
        probe = f"{call.work.id}/{call.attempt}/{uuid.uuid4().hex[:6]}"
        if clock.now() < self._fresh_until:
            _, leave = self.known.admit(rules, self._states.now(), probe)
            if isinstance(leave, Refusal):
                return leave
        before, turn = self._untold(), self.known.turn

        if before.calls:
            self._tell_from = clock.now() + settings.current.store_staleness

        def step(circuit: Circuit, now: float) -> tuple[Circuit, Pass | Refusal]:
            if before.calls:
                circuit = circuit.record(rules, now, Pass(turn), Seen(None), before)
            return circuit.admit(rules, now, probe)

        return self.exchange(step, call.emit)

    def refusal(self, rules: Rules) -> Refusal | None:
        """Return why a call would not be let through, if that is so; it takes no probe."""
        if self.is_well(rules):
            return None
        if clock.now() >= self._fresh_until:
            self.exchange(lambda circuit, _: (circuit, None), tell_all)
        _, leave = self.known.admit(rules, self._states.now(), "")
        return leave if isinstance(leave, Refusal) else None

    def record(self, rules: Rules, call: Call, leave: Pass, seen: Seen) -> None:
        """Take in what came of a call that was let through."""
        if not leave.probe:
            if seen.good is None:
                return
            run_goes_on = rules.failures is not None and self.known.run
            self._last = now = clock.now()
            self._rules = rules
            was_let_go = self._states.views.get(self._key) is not self  # then others know more by now
            is_no_news = seen.good and not (seen.slow or run_goes_on or was_let_go) and leave.turn == self.known.turn
            if is_no_news and not rules.counts:
                return
            if is_no_news and now < self._tell_from:  # a process may live for one call: its success is told at once
                self._count()
                return
        before = self._untold()
        self._tell_from = clock.now() + settings.current.store_staleness
        self.exchange(lambda circuit, now: (circuit.record(rules, now, leave, seen, before), None), call.emit)

    def exchange(self, step: Callable[[Circuit, float], tuple[Circuit, T]], tell: Tell) -> T:
        """Change the circuit in the store by one step, take in how it stands then, and tell of a new position."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, _Exchanged[T]]:
            found = Circuit.decode(state)
            before = found.until(now)
            after, answer = step(before, now)
            return (state if after is found else after.encode()), _Exchanged(before, after, now, answer)

        done = self._states.update(self._key, change, ttl=_kept, take_in=self._take_in)
        if done.after.turn != done.before.turn:
            _tell(tell, self._name, done.before, done.after, done.now)
        return done.answer

    @property
    def is_needed(self) -> bool:
        """No: all that it knows stands in the store, or in memory."""
        return False

    def let_go(self) -> None:
        """See `View`. The memory of this process forgets the circuit too, one that is not closed after a while."""
        rules = self._rules
        if self._states.is_shared and rules is not None and rules.counts:
            before, leave = self._untold(), Pass(self.known.turn)
            if before.calls:
                self.exchange(lambda found, now: (found.record(rules, now, leave, Seen(None), before), None), tell_all)
        now = self._states.now()
        self._states.forget(self._key, lambda state: Circuit.decode(state).matters_for(now))

    def _take_in(self, done: _Exchanged[Any]) -> None:
        """Take in the circuit before another thread asks: none may put an older one in the place of a newer one."""
        self.was_used = True
        self.known, self._fresh_until = done.after, clock.now() + settings.current.store_staleness
        if done.after.turn != self.leave.turn.turn:
            self._give_leave()

    def _untold(self) -> Successes:
        with self._lock:
            counted = self._count()  # this question is counted too
            untold = Successes(counted - self._told, self._states.now() - (clock.now() - self._last))
            self._told = counted + 1
        return untold

    def _give_leave(self) -> None:
        """Make what `at_once` gives to every call of this turn."""
        turn = Pass(self.known.turn)
        self.leave, self.leave_and_count = TurnLeave(self._key, turn), _Counted(self._key, turn, self._count)


class _Exchanged(NamedTuple, Generic[T]):
    """A circuit before a step and after it, the time, and what the step answered."""

    before: Circuit
    after: Circuit
    now: float
    answer: T


def _kept(done: _Exchanged[Any]) -> float | None:
    """Say for how long a circuit is kept that is used no more: not for ever, unless a person isolated it."""
    acts_for, fades_in = done.after.acts_for(done.now), done.after.fades_in
    if acts_for == math.inf:
        return None
    return acts_for + _KEPT if fades_in == math.inf else max(_LITTLE_KEPT, fades_in)


def _tell(tell: Tell, name: str, before: Circuit, after: Circuit, now: float) -> None:
    match after.position:
        case "open":
            tell(BreakerOpened, breaker=name, reason=after.reason, open_for=after.open_for)
        case "isolated":
            tell(BreakerOpened, breaker=name, reason=after.reason, open_for=None)
        case "half_open":
            tell(BreakerHalfOpened, breaker=name, reason=after.reason)
        case "closed":
            tell(BreakerClosed, breaker=name, reason=after.reason, seconds=now - before.closed_until)


def tell_all(event: type[Event], **details: Any) -> None:
    """Tell what a person did, and no call."""
    bus.emit(event(operation=BY_HAND, **details))
