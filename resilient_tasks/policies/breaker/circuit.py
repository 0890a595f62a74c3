"""The circuits of this process: a cache of each shared circuit, with its unreported successes."""

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
from resilient_tasks.policies.breaker.machine import (
    NO_RESULT,
    NO_SUCCESSES,
    Admission,
    CallResult,
    Circuit,
    Refusal,
    Rules,
    Successes,
)
from resilient_tasks.state.states import States
from resilient_tasks.state.window import TimeWindow

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call
    from resilient_tasks.core.settings import Settings

T = TypeVar("T")

#: The reason of a change by hand, and the operation in its event.
BY_HAND = "by hand"

#: Seconds for which an unused circuit is kept: one that equals a new one, and any other after it stops refusing calls.
_KEPT_IF_NEW, _KEPT = 86_400.0, 30 * 86_400.0

Emit = Callable[..., None]


class CircuitDoor(Door):
    """Open while the memory of this process holds this very circuit, which is immutable and replaced by each change."""

    __slots__ = ("cell", "circuit")

    cell: Cell
    circuit: Circuit
    text: ClassVar[Text] = Text(
        "a circuit",
        "door.cell.live is door.circuit",
        succeeded="permit is door.permit and door.cell.live is door.circuit or permit.succeeded()",
    )


class CountingDoor(CircuitDoor):
    """The same for a circuit that counts successes."""

    __slots__ = ("window",)

    text: ClassVar[Text] = Text(
        "a circuit that counts",
        CircuitDoor.text.is_open,
        # As `TimeWindow.add_success`, without a call after the clock is read.
        succeeded="now, window = clock.present(), door.window\n"
        "if permit is door.permit and door.cell.live is door.circuit and window.begins <= now < window.ends:"
        " window.latest[1] += 1\n"
        "else: permit.succeeded()",
    )

    def __init__(self, policy: Any) -> None:
        super().__init__(policy)
        self.window: TimeWindow = TimeWindow(1)


class SharedCircuit:
    """A cached circuit, and the successes that are not yet in the store.

    The default store is this process's memory: then this is the circuit itself, and each success is counted in it. From
    any other store the circuit is read again once it is stale, and successes are written with the next read or failure.
    """

    def __init__(self, shared: States, key: str) -> None:
        self._name = key.partition("/")[2]
        self._states = shared
        self._key = key
        self._memory = shared.memory
        self._cell = Cell(Circuit(), 0.0) if self._memory is None else self._memory.cell(key, _decode)
        self._by_clock = self._memory is not None and self._memory.goes_by_clock
        self._fresh_until = -math.inf if self._memory is None else math.inf
        self._flush_after = -math.inf
        self._lock = threading.Lock()
        self._count = itertools.count().__next__  # one step of C: no thread waits for another
        self._flushed = 0
        self._last_success = 0.0
        self._rules: Rules | None = None
        self._in_force: tuple[Rules | None, Any, Rules | None] = None, None, None
        # One value, because other threads set it too.
        self._issued: tuple[Rules | None, Permit] = None, Permit(key, Admission(-1))
        self.was_used: bool = False

    @property
    def circuit(self) -> Circuit:
        """The circuit; from a shared store, as it was last read."""
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, _decode)
        circuit: Circuit = self._cell.state
        return circuit

    def _changed(self, rules: Rules, circuit: Circuit) -> Rules:
        """Return the rules with changed numbers: the same object each time, which `Window.matched` goes by."""
        given, changes, changed = self._in_force
        if changed is None or given is not rules or changes is not circuit.changes:
            changed = circuit.in_force(rules)
            self._in_force = rules, circuit.changes, changed
        return changed

    def is_known_closed(self, rules: Rules) -> bool:
        """Return whether a call may be made without a request to the store: the circuit was closed recently."""
        circuit = self.circuit
        if circuit.changes is not None:
            rules = self._changed(rules, circuit)
        if circuit.state != "closed" or clock.now() >= self._fresh_until:
            return False
        # Consecutive failures are counted exactly: during a run of them, a shared store is read each time.
        return circuit.consecutive_failures == 0 or rules.failures is None or self._memory is not None

    def try_acquire(
        self, rules: Rules, door: CircuitDoor | None = None, current: Settings | None = None
    ) -> Permit | None:
        """Return a permit for a call, or None if the store has to be read first.

        Args:
            rules: of the calling policy.
            door: the door to open, for the `current` settings.
            current: the settings in force since before this circuit was looked up.
        """
        circuit: Circuit | None = self._cell.live
        if circuit is None or circuit.state != "closed":
            return None
        if self._memory is None and not self.is_known_closed(rules):
            return None
        if circuit.changes is not None:
            rules = self._changed(rules, circuit)
        issued_for, permit = self._issued
        if issued_for is not rules or permit.data.generation != circuit.generation:
            self._rules, permit = rules, self._new_permit(rules, circuit.generation)
            self._issued = rules, permit
        self.was_used = True
        if door is not None and self._memory is not None and not circuit.consecutive_failures:
            if isinstance(door, CountingDoor):
                window = circuit.window
                if not self._by_clock or window.matched is not rules or not isinstance(window, TimeWindow):
                    return permit
                door.window = window
            door.cell, door.circuit, door.permit, door.opened_for = self._cell, circuit, permit, current
        return permit

    def admit(self, rules: Rules, call: Call) -> Admission | Refusal:
        """Admit or refuse a call."""
        self.was_used = True
        if self.is_known_closed(rules):
            return Admission(self.circuit.generation)
        # A new name each time: a call may come here more than once.
        probe = f"{call.work.id}/{call.attempt}/{uuid.uuid4().hex[:6]}"
        if clock.now() < self._fresh_until:
            now = self._states.now()
            _, answer = self.circuit.corrected(now).admit(rules, now, probe)
            if isinstance(answer, Refusal):
                return answer
        pending, generation = self._take_pending(), self.circuit.generation
        if pending.calls:
            self._flush_after = clock.now() + settings.current.store_staleness

        def step(circuit: Circuit, now: float) -> tuple[Circuit, Admission | Refusal]:
            if pending.calls:
                circuit = circuit.record(rules, now, Admission(generation), NO_RESULT, pending)
            return circuit.used_by(rules).admit(rules, now, probe)

        return self.update(step, call.emit)

    def refusal(self, rules: Rules) -> Refusal | None:
        """Return why a call would be refused, or None; starts no probe."""
        if self.is_known_closed(rules):
            return None
        if clock.now() >= self._fresh_until:
            self.update(lambda circuit, _: (circuit, None), emit_event)
        now = self._states.now()
        _, answer = self.circuit.corrected(now).admit(rules, now, "")
        return answer if isinstance(answer, Refusal) else None

    def record(self, rules: Rules, call: Call, admission: Admission, result: CallResult) -> None:
        """Record the result of an admitted call."""
        if not admission.probe:
            if result.success is None:
                return
            self._rules = rules
            if result.success and not result.slow and self._record_cached(rules, admission.generation):
                return
        pending = self._take_pending()
        self._last_success = clock.now()
        self._flush_after = self._last_success + settings.current.store_staleness

        def step(circuit: Circuit, now: float) -> tuple[Circuit, None]:
            return circuit.used_by(rules).record(rules, now, admission, result, pending), None

        self.update(step, call.emit)

    def _record_cached(self, rules: Rules, generation: int) -> bool:
        """Record a quick success without a request to the store, and return whether that was possible."""
        if self.circuit.changes is not None:
            rules = self._changed(rules, self.circuit)
        if self._memory is not None:
            return self._record_in_memory(rules, generation)
        ends_a_run = rules.failures is not None and self.circuit.consecutive_failures
        was_evicted = self._states.views.get(self._key) is not self  # then another view is up to date
        if ends_a_run or was_evicted or generation != self.circuit.generation:
            return False
        now = clock.now()
        if rules.use_window and now >= self._flush_after:  # a process may live for one call: write its success at once
            return False
        if rules.use_window:
            self._last_success = now
            self._count()
        return True

    def _record_in_memory(self, rules: Rules, generation: int) -> bool:
        """Record a success in memory, if it changes nothing but the latest bucket of the window."""
        circuit: Circuit | None = self._cell.live
        if circuit is None:
            return False
        if circuit.generation != generation or circuit.state != "closed":
            return True  # results from earlier generations are ignored
        if circuit.consecutive_failures:
            return False
        return not rules.use_window or (rules.match(circuit.window) and circuit.window.add_success(self._states.now()))

    def _record_success(self, rules: Rules, generation: int) -> None:
        """Record a success of a call that had a permit, in memory."""
        if not self._record_in_memory(rules, generation):
            admission, result = Admission(generation), CallResult(success=True)
            self.update(lambda circuit, now: (circuit.record(rules, now, admission, result), None), emit_event)

    def _end_run_of_failures(self, rules: Rules, generation: int) -> None:
        """As `_record_success`, if only consecutive failures count."""
        circuit: Circuit | None = self._cell.live
        if circuit is None or circuit.consecutive_failures:
            self._record_success(rules, generation)

    def update(self, step: Callable[[Circuit, float], tuple[Circuit, T]], emit: Emit) -> T:
        """Change the circuit in the store by one step, cache it, and emit the change of its state."""

        def change(found: Circuit, now: float) -> tuple[Circuit | None, _Update[T]]:
            before = found.corrected(now)
            after, answer = step(before, now)
            return (None if after is found else after), _Update(before, after, now, answer)

        done = self._states.step(self._key, _decode, change, ttl=_ttl, take_in=self._cache)
        if done.after.generation != done.before.generation:
            _emit_change(emit, self._name, done)
        return done.answer

    @property
    def is_needed(self) -> bool:
        """No: all that it holds is in the store, or in memory."""
        return False

    def let_go(self) -> None:
        """See `View`. The memory of this process forgets a closed circuit at once, and any other one after a while."""
        rules, pending = self._rules, self._take_pending()
        if rules is not None and pending.calls:
            admission = Admission(self.circuit.generation)
            self.update(lambda c, now: (c.record(rules, now, admission, NO_RESULT, pending), None), emit_event)
        now = self._states.now()
        self._states.forget(self._key, _decode, lambda circuit: circuit.needed_for(now))

    def _cache(self, done: _Update[Any]) -> None:
        """Cache the circuit before another thread reads the store: no older one may replace a newer one."""
        if self._memory is None:
            self._cell = Cell(done.after, 0.0)
            self._fresh_until = clock.now() + settings.current.store_staleness

    def _take_pending(self) -> Successes:
        """Return the successes that are not yet in the store, to write them now."""
        if self._memory is not None:
            return NO_SUCCESSES
        with self._lock:
            count = self._count()  # which counts this call of it too
            pending = Successes(count - self._flushed, self._states.now() - (clock.now() - self._last_success))
            self._flushed = count + 1
        return pending

    def _new_permit(self, rules: Rules, generation: int) -> Permit:
        """Return the permit of all calls of this generation."""
        if self._memory is not None:
            succeeded = self._record_success if rules.use_window else self._end_run_of_failures
            return Permit(self._key, Admission(generation), succeeded=partial(succeeded, rules, generation))
        return Permit(self._key, Admission(generation), succeeded=self._count if rules.use_window else nothing)


def _decode(encoded: bytes | None, _now: float) -> Circuit:
    return Circuit.decode(encoded)


class _Update(NamedTuple, Generic[T]):
    """A circuit before and after a step, the time of it, and its result."""

    before: Circuit
    after: Circuit
    now: float
    answer: T


def _ttl(done: _Update[Any]) -> float | None:
    """Return the seconds for which an unused circuit is kept; None, for ever, if it was isolated or changed by hand."""
    if done.after.changes is not None:
        return None
    refuses_for, resets_in = done.after.refuses_for(done.now), done.after.resets_in
    if refuses_for == math.inf:
        return None
    return refuses_for + _KEPT if resets_in == math.inf else max(_KEPT_IF_NEW, resets_in)


def _emit_change(emit: Emit, name: str, done: _Update[Any]) -> None:
    after = done.after
    common = {"breaker": name, "reason": after.reason, "shadow": after.shadow}
    if after.state == "closed":
        emit(BreakerClosed, **common, seconds=done.now - done.before.closed_until)
    elif after.state == "half_open":
        emit(BreakerHalfOpened, **common)
    else:
        open_for = None if after.state == "isolated" else after.open_for
        emit(BreakerOpened, **common, open_for=open_for)


def emit_event(event: type[Event], **details: Any) -> None:
    """Emit an event that belongs to no call."""
    bus.emit(event(operation=BY_HAND, **details))
