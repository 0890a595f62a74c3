"""An adaptive rate limit that calls share."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from resilient_tasks.core import settings
from resilient_tasks.core.call import Permit
from resilient_tasks.core.execution import clock
from resilient_tasks.core.store import Cell, LiveStep
from resilient_tasks.policies.adaptive_rate_limit.machine import Accepted, Cut, Limit, Place, Rules
from resilient_tasks.state.states import States

T = TypeVar("T")

#: An unused limit is kept for these seconds, or this many times its `per`; then it starts again.
_KEPT, _PERIODS = 3600.0, 10


class SharedLimit:
    """An adaptive limit in this process, with the accepted calls that it has not reported yet."""

    __slots__ = (
        *("_calls", "_cell", "_key", "_leave", "_lock", "_memory", "_rules"),
        *("_states", "_tell_from", "_turn", "was_used"),
    )

    def __init__(self, shared: States, key: str) -> None:
        self._states = shared
        self._key = key
        self._lock = threading.Lock()
        self._turn = self._calls = 0
        self._tell_from = -math.inf
        self._rules: Rules | None = None
        self._memory = shared.memory
        self._cell = Cell(None, -math.inf)
        self._leave = self._leave_of(0)
        self.was_used: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether something would be lost with it: no, `let_go` reports the rest."""
        return False

    def let_go(self) -> None:
        """See `View`. The memory of this process forgets the limit too, once it makes no call wait."""
        if (rules := self._rules) is None:
            return
        if self._states.is_shared and self._calls:
            self._tell(rules)
        now = self._states.now()
        self._states.forget(self._key, partial(Limit.decode, rules), lambda limit: limit.acts_for(now))

    def at_once(self, rules: Rules) -> Permit | None:
        """Give leave for a call, if it need not wait and the limit is in this process's memory; else `ask`."""
        memory, cell = self._memory, self._cell
        if memory is None or self._rules is not rules:
            return None
        now = clock.present() if memory.goes_by_clock else memory.now()
        cell.expires = now + max(_KEPT, _PERIODS * rules.per)
        turn = Limit.comes(cell, now)
        if turn is None:
            return None
        self.was_used = True
        leave = self._leave
        if leave.data != turn:
            leave = self._leave = self._leave_of(turn)
        return leave

    def _leave_of(self, turn: int) -> Permit:
        return Permit(self._key, turn, succeeded=partial(self._accepted, turn), is_spent=True)

    def _accepted(self, turn: int) -> None:
        if self._rules is not None:
            self.accept(self._rules, turn)

    def ask(self, rules: Rules, patience: float, number: int | None = None) -> Place:
        """Ask for a place in the queue of calls; or, with the number of a place, when that one begins by now."""
        self.was_used, self._rules = True, rules
        accepted = self._untold()

        def step(limit: Limit, now: float) -> tuple[Limit | None, Place]:
            limit.by(rules, now)
            if accepted.calls:
                limit.accept(rules, now, accepted)
            place = limit.come(now, patience) if number is None else limit.look(now, patience, number)
            is_as_it_was = number is not None and place.granted and place.wait > 0 and not accepted.calls
            return (None if is_as_it_was and not limit.corrected else limit), place

        return self._step(rules, step, lambda place: place.wait)

    def leave(self, rules: Rules, number: int) -> None:
        """Tell that a call does not wait any more."""

        def step(limit: Limit, now: float) -> tuple[Limit, float]:
            limit.by(rules, now).leave(now, number)
            return limit, limit.paused - now

        self._step(rules, step, lambda pause: pause)

    def accept(self, rules: Rules, turn: int) -> None:
        """Count a call that the service accepted.

        It is reported with the next request, or at once if none was reported lately: a process may live for one call.
        """
        with self._lock:
            if turn != self._turn:
                self._turn, self._calls = turn, 0
            self._calls += 1
            now = clock.now()
            if now < self._tell_from:
                return
        self._tell(rules)

    def refuse(self, rules: Rules, turn: int, wait: float) -> Cut | None:
        """Report that the service refused a call and asks to wait `wait` seconds; see `Limit.refuse`."""

        def step(limit: Limit, now: float) -> tuple[Limit, Cut | None]:
            return limit, limit.by(rules, now).refuse(rules, now, turn, wait)

        return self._step(rules, step, lambda _: wait)

    def _tell(self, rules: Rules) -> None:
        accepted = self._untold()

        def step(limit: Limit, now: float) -> tuple[Limit, float]:
            limit.by(rules, now).accept(rules, now, accepted)
            return limit, limit.paused - now

        self._step(rules, step, lambda pause: pause)

    def _step(self, rules: Rules, step: LiveStep[Limit, T], acts_for: Callable[[T], float]) -> T:
        """Change the limit; it is kept for so many seconds longer than it makes calls wait."""
        kept = max(_KEPT, _PERIODS * rules.per)
        return self._states.step(
            self._key,
            partial(Limit.decode, rules),
            step,
            ttl=lambda result: max(0.0, acts_for(result)) + kept,
            take_in=lambda _: self._look(rules),
        )

    def _look(self, rules: Rules) -> None:
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, partial(Limit.decode, rules))

    def _untold(self) -> Accepted:
        """Return the unreported calls, to report them now."""
        with self._lock:
            untold, self._calls = Accepted(self._turn, self._calls), 0
            if untold.calls:
                self._tell_from = clock.now() + settings.current.store_staleness
        return untold


def found(shared: States, key: str, rules: Rules) -> tuple[Limit, float]:
    """Return the limit in the store, and the present time."""
    now = shared.now()
    return Limit.decode(rules, shared.get(key), now), now
