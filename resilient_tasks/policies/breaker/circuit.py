"""A circuit that calls share."""

from __future__ import annotations

import itertools
import math
import threading
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from resilient_tasks.core import settings
from resilient_tasks.core.call import Permit, nothing
from resilient_tasks.core.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Event, bus
from resilient_tasks.core.execution import clock
from resilient_tasks.core.first_attempts import Door, Text
from resilient_tasks.core.store import Cell
from resilient_tasks.policies.breaker.machine import Circuit, Pass, Refusal, Rules, Seen, Successes
from resilient_tasks.state.states import States
from resilient_tasks.state.window import TimeWindow

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call
    from resilient_tasks.core.settings import Settings

T = TypeVar("T")

#: Why a person's circuit took its position, and in events the place of a function's name.
BY_HAND = "by hand"

#: Seconds for which a circuit is kept that no call asks for: one that is as good as new, and any other, after the time
#: for which it is open.
_LITTLE_KEPT, _KEPT = 86_400.0, 30 * 86_400.0

Tell = Callable[..., None]


class CircuitDoor(Door):
    """Open while that very circuit stands in this process's memory: one is never changed, but replaced."""

    __slots__ = ("cell", "circuit")

    cell: Cell
    circuit: Circuit
    text: ClassVar[Text] = Text(
        "a circuit",
        "door.cell.live is door.circuit",
        succeeded="permit is door.permit and door.cell.live is door.circuit or permit.succeeded()",
    )


class CountingDoor(CircuitDoor):
    """The same, where successes are counted."""

    __slots__ = ("window",)

    text: ClassVar[Text] = Text(
        "a circuit that counts",
        CircuitDoor.text.is_open,
        # As `TimeWindow.adds_one`, without a call after the look at the time.
        succeeded="now, window = clock.present(), door.window\n"
        "if permit is door.permit and door.cell.live is door.circuit and window.begins <= now < window.ends:"
        " window.latest[1] += 1\n"
        "else: permit.succeeded()",
    )

    def __init__(self, policy: Any) -> None:
        super().__init__(policy)
        self.window: TimeWindow = TimeWindow(1)


class SharedCircuit:
    """A circuit as this process knows it, and the successes that it has not told yet.

    In the memory of this process the circuit itself is what is known, and each success is counted there. Of any other
    store, what was read last is known for a while, and successes are told now and then.

    """

    def __init__(self, shared: States, key: str) -> None:
        self._name = key.partition("/")[2]
        self._states = shared
        self._key = key
        self._memory = shared.memory
        self._cell = Cell(Circuit(), 0.0) if self._memory is None else self._memory.cell(key, _decoded)
        self._by_clock = self._memory is not None and self._memory.goes_by_clock
        self._fresh_until = -math.inf if self._memory is None else math.inf
        self._tell_from = -math.inf
        self._lock = threading.Lock()
        self._count = itertools.count().__next__  # one step of C: no thread waits for another
        self._told = 0
        self._last = 0.0
        self._rules: Rules | None = None
        self._given: tuple[Rules | None, Permit] = None, Permit(key, Pass(-1))  # one value: other threads set it too
        self.was_used: bool = False

    @property
    def known(self) -> Circuit:
        """The circuit; in a store that others change, as it was when that was asked last."""
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, _decoded)
        circuit: Circuit = self._cell.state
        return circuit

    def is_well(self, rules: Rules) -> bool:
        """Whether a call may be made without asking the store: it was closed, and not long ago."""
        known = self.known
        if known.position != "closed" or clock.now() >= self._fresh_until:
            return False
        # Failures in a row are to be exact: a store that others change is asked while there are any.
        return known.run == 0 or rules.failures is None or self._memory is not None

    def at_once(self, rules: Rules, door: CircuitDoor | None = None, chosen: Settings | None = None) -> Permit | None:
        """Give leave for a call to be made at once, or None where the store is to be asked.

        Args:
            rules: of the policy that asks.
            door: to be opened, for the settings that are `chosen`.
            chosen: in force since before this circuit was found.
        """
        circuit: Circuit | None = self._cell.live
        if circuit is None or circuit.position != "closed":
            return None
        if self._memory is None and not self.is_well(rules):
            return None
        given_by, leave = self._given
        if given_by is not rules or leave.data.turn != circuit.turn:
            self._rules, leave = rules, self._leave_for(rules, circuit.turn)
            self._given = rules, leave
        self.was_used = True
        if door is not None and self._memory is not None and not circuit.run:
            if isinstance(door, CountingDoor):
                window = circuit.window
                if not self._by_clock or window.fits is not rules or not isinstance(window, TimeWindow):
                    return leave
                door.window = window
            door.cell, door.circuit, door.permit, door.opened_for = self._cell, circuit, leave, chosen
        return leave

    def admit(self, rules: Rules, call: Call) -> Pass | Refusal:
        """Ask leave for a call."""
        if self.is_well(rules):
            return Pass(self.known.turn)
        # Named anew each time: a call may ask more than once.
        probe = f"{call.work.id}/{call.attempt}/{uuid.uuid4().hex[:6]}"
        if clock.now() < self._fresh_until:
            now = self._states.now()
            _, leave = self.known.until(now).admit(rules, now, probe)
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
        now = self._states.now()
        _, leave = self.known.until(now).admit(rules, now, "")
        return leave if isinstance(leave, Refusal) else None

    def record(self, rules: Rules, call: Call, leave: Pass, seen: Seen) -> None:
        """Take in what came of a call that was let through."""
        if not leave.probe:
            if seen.good is None:
                return
            self._rules = rules
            if seen.good and not seen.slow and self._is_no_news(rules, leave):
                return
        before = self._untold()
        self._last = clock.now()
        self._tell_from = self._last + settings.current.store_staleness
        self.exchange(lambda circuit, now: (circuit.record(rules, now, leave, seen, before), None), call.emit)

    def _is_no_news(self, rules: Rules, leave: Pass) -> bool:
        """Tell whether a success need not be told, or was counted, to be told later."""
        if self._memory is not None:
            return self._counted_here(rules, leave.turn)
        run_goes_on = rules.failures is not None and self.known.run
        was_let_go = self._states.views.get(self._key) is not self  # then others know more by now
        if run_goes_on or was_let_go or leave.turn != self.known.turn:
            return False
        now = clock.now()
        if rules.counts and now >= self._tell_from:  # a process may live for one call: its success is told at once
            return False
        if rules.counts:
            self._last = now
            self._count()
        return True

    def _counted_here(self, rules: Rules, turn: int) -> bool:
        """Count a success in memory, if nothing comes of it but one more in the latest of the window's steps."""
        circuit: Circuit | None = self._cell.live
        if circuit is None:
            return False
        if circuit.turn != turn or circuit.position != "closed":
            return True  # what was let through in an earlier turn has no say
        if circuit.run:
            return False
        return not rules.counts or (rules.fit(circuit.window) and circuit.window.adds_one(self._states.now()))

    def _succeeded(self, rules: Rules, turn: int) -> None:
        """Take in a success of a call that was made at once, in this turn."""
        circuit: Circuit | None = self._cell.live
        self.was_used = True
        if (
            circuit is not None
            and not circuit.run
            and circuit.window.fits is rules
            and circuit.turn == turn
            and circuit.window.adds_one(clock.present() if self._by_clock else self._states.now())
        ):
            return
        if not self._counted_here(rules, turn):
            leave, seen = Pass(turn), Seen(good=True)
            self.exchange(lambda circuit, now: (circuit.record(rules, now, leave, seen), None), tell_all)

    def _ended_a_row(self, rules: Rules, turn: int) -> None:
        """Take in a success where only failures in a row count."""
        circuit: Circuit | None = self._cell.live
        if circuit is None or circuit.run:
            self._succeeded(rules, turn)

    def exchange(self, step: Callable[[Circuit, float], tuple[Circuit, T]], tell: Tell) -> T:
        """Change the circuit in the store by one step, take in how it stands then, and tell of a new position."""

        def change(found: Circuit, now: float) -> tuple[Circuit | None, _Exchanged[T]]:
            before = found.until(now)
            after, answer = step(before, now)
            return (None if after is found else after), _Exchanged(before, after, now, answer)

        done = self._states.step(self._key, _decoded, change, ttl=_kept, take_in=self._take_in)
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
        if self._memory is None and rules is not None and rules.counts:
            before, leave = self._untold(), Pass(self.known.turn)
            if before.calls:
                self.exchange(lambda found, now: (found.record(rules, now, leave, Seen(None), before), None), tell_all)
        now = self._states.now()
        self._states.forget(self._key, _decoded, lambda circuit: circuit.matters_for(now))

    def _take_in(self, done: _Exchanged[Any]) -> None:
        """Take in the circuit before another thread asks: none may put an older one in the place of a newer one."""
        self.was_used = True
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, _decoded)
        else:
            self._cell = Cell(done.after, 0.0)
            self._fresh_until = clock.now() + settings.current.store_staleness

    def _untold(self) -> Successes:
        if self._memory is not None:
            return _NONE
        with self._lock:
            counted = self._count()  # this question is counted too
            untold = Successes(counted - self._told, self._states.now() - (clock.now() - self._last))
            self._told = counted + 1
        return untold

    def _leave_for(self, rules: Rules, turn: int) -> Permit:
        """Make what `at_once` gives to every call of this turn."""
        if self._memory is not None:
            succeeded = self._succeeded if rules.counts else self._ended_a_row
            return Permit(self._key, Pass(turn), succeeded=partial(succeeded, rules, turn))
        return Permit(self._key, Pass(turn), succeeded=self._count if rules.counts else nothing)


_NONE = Successes()


def _decoded(state: bytes | None, _now: float) -> Circuit:
    return Circuit.decode(state)


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
