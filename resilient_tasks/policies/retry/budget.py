"""A retry budget that calls share."""

from __future__ import annotations

import threading

from resilient_tasks.core import settings
from resilient_tasks.core.execution import clock
from resilient_tasks.policies.retry.machine import Allowance, Grant, Paid
from resilient_tasks.state.states import States


class Purse:
    """A budget as this process knows it: the calls that it has not told yet."""

    __slots__ = ("_allowance", "_calls", "_key", "_last", "_lock", "_next", "_states", "was_used")

    def __init__(self, shared: States, key: str) -> None:
        self._states = shared
        self._key = key
        self._lock = threading.Lock()
        self._calls = 0
        self._last = self._next = clock.now()
        self._allowance: Allowance | None = None
        self.was_used: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether something would be lost with it: no, what was not told is told by `let_go`."""
        return False

    def let_go(self) -> None:
        """See `View`."""
        if self._calls and self._allowance is not None:
            self._tell(self._allowance)

    def pay_in(self, allowance: Allowance) -> None:
        """Count a call; the store is told now and then."""
        with self._lock:
            self._calls += 1
            self._last = now = clock.now()
            if now < self._next:
                return
            self._next = now + settings.current.store_staleness
        self._tell(allowance)

    def _tell(self, allowance: Allowance) -> None:
        self.was_used, self._allowance = True, allowance
        calls, at = self._untold()

        def step(paid: Paid, now: float) -> tuple[Paid, None]:
            return allowance.pay_in(paid, now, calls, at), None

        self._states.step(self._key, allowance.decode, step, ttl=2 * allowance.per)

    def draw(self, allowance: Allowance) -> Grant:
        """Ask for one retry."""
        self.was_used = True
        calls, at = self._untold()
        return self._states.step(
            self._key, allowance.decode, lambda paid, now: allowance.draw(paid, now, calls, at), ttl=2 * allowance.per
        )

    def _untold(self) -> tuple[int, float]:
        with self._lock:
            calls, self._calls = self._calls, 0
            return calls, self._states.now() - (clock.now() - self._last)
