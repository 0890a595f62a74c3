"""The adaptive rate limits of this process: a cache of each limit, with its unreported accepted calls."""

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
    """An adaptive limit in this process, with its unreported accepted calls."""

    __slots__ = (
        *("_calls", "_cell", "_flush_after", "_generation", "_key", "_lock", "_memory"),
        *("_permit", "_rules", "_states", "was_used"),
    )

    def __init__(self, shared: States, key: str) -> None:
        self._states = shared
        self._key = key
        self._lock = threading.Lock()
        self._generation = self._calls = 0
        self._flush_after = -math.inf
        self._rules: Rules | None = None
        self._memory = shared.memory
        self._cell = Cell(None, -math.inf)
        self._permit = self._new_permit(0)
        self.was_used: bool = False

    @property
    def is_needed(self) -> bool:
        """No: `let_go` reports the accepted calls."""
        return False

    def let_go(self) -> None:
        """See `View`. The memory of this process forgets the limit too, once no call has to wait."""
        if (rules := self._rules) is None:
            return
        if self._states.is_shared and self._calls:
            self._flush(rules)
        now = self._states.now()
        self._states.forget(self._key, partial(Limit.decode, rules), lambda limit: limit.wait(now))

    def try_acquire(self, rules: Rules) -> Permit | None:
        """Return a permit if the limit is in this process's memory, and a call need not wait; else None."""
        memory, cell = self._memory, self._cell
        if memory is None or self._rules is not rules:
            return None
        now = clock.present() if memory.goes_by_clock else memory.now()
        cell.expires = now + max(_KEPT, _PERIODS * rules.per)
        generation = Limit.try_acquire(cell, now)
        if generation is None:
            return None
        self.was_used = True
        permit = self._permit
        if permit.data != generation:
            permit = self._permit = self._new_permit(generation)
        return permit

    def _new_permit(self, generation: int) -> Permit:
        return Permit(self._key, generation, succeeded=partial(self._accept, generation), is_spent=True)

    def _accept(self, generation: int) -> None:
        if self._rules is not None:
            self.accept(self._rules, generation)

    def place(self, rules: Rules, patience: float, number: int | None = None) -> Place:
        """Return a new place in the queue of calls, or the present place of the call with this number."""
        self.was_used, self._rules = True, rules
        pending = self._take_pending()

        def step(limit: Limit, now: float) -> tuple[Limit | None, Place]:
            limit.apply(rules, now)
            if pending.calls:
                limit.accept(rules, now, pending)
            place = limit.enqueue(now, patience) if number is None else limit.place(now, patience, number)
            is_unchanged = number is not None and place.granted and place.wait > 0 and not pending.calls
            return (None if is_unchanged and not limit.corrected else limit), place

        return self._step(rules, step, lambda place: place.wait)

    def leave(self, rules: Rules, number: int) -> None:
        """Remove a waiting call from the queue."""

        def step(limit: Limit, now: float) -> tuple[Limit, float]:
            limit.apply(rules, now).leave(now, number)
            return limit, limit.paused - now

        self._step(rules, step, lambda pause: pause)

    def accept(self, rules: Rules, generation: int) -> None:
        """Count a call that the service accepted.

        It is reported with the next request, or at once if none was reported lately: a process may live for one call.
        """
        with self._lock:
            if generation != self._generation:
                self._generation, self._calls = generation, 0
            self._calls += 1
            now = clock.now()
            if now < self._flush_after:
                return
        self._flush(rules)

    def refuse(self, rules: Rules, generation: int, wait: float) -> Cut | None:
        """Report that the service refused a call and asks to wait `wait` seconds; see `Limit.refuse`."""

        def step(limit: Limit, now: float) -> tuple[Limit, Cut | None]:
            return limit, limit.apply(rules, now).refuse(rules, now, generation, wait)

        return self._step(rules, step, lambda _: wait)

    def _flush(self, rules: Rules) -> None:
        pending = self._take_pending()

        def step(limit: Limit, now: float) -> tuple[Limit, float]:
            limit.apply(rules, now).accept(rules, now, pending)
            return limit, limit.paused - now

        self._step(rules, step, lambda pause: pause)

    def _step(self, rules: Rules, step: LiveStep[Limit, T], wait: Callable[[T], float]) -> T:
        """Change the limit; it is kept for some time longer than calls have to wait."""
        kept = max(_KEPT, _PERIODS * rules.per)
        return self._states.step(
            self._key,
            partial(Limit.decode, rules),
            step,
            ttl=lambda result: max(0.0, wait(result)) + kept,
            take_in=lambda _: self._cache(rules),
        )

    def _cache(self, rules: Rules) -> None:
        if self._memory is not None:
            self._cell = self._memory.cell(self._key, partial(Limit.decode, rules))

    def _take_pending(self) -> Accepted:
        """Return the unreported calls, to report them now."""
        with self._lock:
            pending, self._calls = Accepted(self._generation, self._calls), 0
            if pending.calls:
                self._flush_after = clock.now() + settings.current.store_staleness
        return pending


def read(shared: States, key: str, rules: Rules) -> tuple[Limit, float]:
    """Return the limit in the store, and the present time."""
    now = shared.now()
    return Limit.decode(rules, shared.get(key), now), now
