"""A retry budget that calls share."""

from __future__ import annotations

import threading

from resilient_tasks.core import settings
from resilient_tasks.core.execution import clock
from resilient_tasks.policies.retry.machine import BudgetLimit, BudgetWindow, Grant
from resilient_tasks.state.states import States


class RetryBudgetState:
    """This process's view of a budget, with the calls that are not stored yet."""

    __slots__ = ("_calls", "_key", "_last", "_limit", "_lock", "_next", "_states", "was_used")

    def __init__(self, shared: States, key: str) -> None:
        self._states = shared
        self._key = key
        self._lock = threading.Lock()
        self._calls = 0
        self._last = self._next = clock.now()
        self._limit: BudgetLimit | None = None
        self.was_used: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether it holds something that cannot be flushed: no."""
        return False

    def let_go(self) -> None:
        """See `View`."""
        if self._calls and self._limit is not None:
            self._flush(self._limit)

    def record_call(self, limit: BudgetLimit) -> None:
        """Count a call. Counts are stored from time to time."""
        with self._lock:
            self._calls += 1
            self._last = now = clock.now()
            if now < self._next:
                return
            self._next = now + settings.current.store_staleness
        self._flush(limit)

    def try_acquire(self, limit: BudgetLimit) -> Grant:
        """Request one retry."""
        self.was_used = True
        calls, at = self._take_pending()
        return self._states.step(
            self._key, limit.decode, lambda window, now: limit.try_acquire(window, now, calls, at), ttl=2 * limit.per
        )

    def _flush(self, limit: BudgetLimit) -> None:
        self.was_used, self._limit = True, limit
        calls, at = self._take_pending()

        def step(window: BudgetWindow, now: float) -> tuple[BudgetWindow, None]:
            return limit.record_calls(window, now, calls, at), None

        self._states.step(self._key, limit.decode, step, ttl=2 * limit.per)

    def _take_pending(self) -> tuple[int, float]:
        with self._lock:
            calls, self._calls = self._calls, 0
            return calls, self._states.now() - (clock.now() - self._last)
