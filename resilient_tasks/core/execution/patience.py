"""Timeouts that do not count the time for which the process was paused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from resilient_tasks.core.execution import real_time as time

#: The most seconds that count between two looks at the clock.
STEP = 0.02


class _Lock(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...  # noqa: FBT001, FBT002  # as in threading


class _Event(Protocol):
    def wait(self, timeout: float | None = None) -> bool: ...


class Patience:
    """A timeout that counts only while the process runs.

    The clock goes on while a container is frozen, a virtual machine migrates or SIGSTOP holds the process, which says
    nothing about what the thread waits for. So only a bounded time counts between two looks at the clock, and a waiting
    thread looks more often than that.
    """

    __slots__ = ("_left", "_longest", "_looked")

    def __init__(self, seconds: float, longest: float = STEP) -> None:
        """Begin to wait for `seconds`; at most `longest` of them count between two looks."""
        self._left = seconds
        self._longest = longest
        self._looked = time.monotonic()

    @property
    def left(self) -> float:
        """Look at the clock and return the seconds left."""
        now = time.monotonic()
        self._left -= min(now - self._looked, self._longest)
        self._looked = now
        return self._left

    @property
    def is_over(self) -> bool:
        """Look at the clock and return whether no time is left."""
        return self.left <= 0

    def acquire(self, lock: _Lock, unless: Callable[[], bool] = bool) -> bool:
        """Acquire a lock; return False when the time is over, or when `unless()` is true: the lock is of no use."""
        while not lock.acquire(timeout=max(0.0, min(STEP / 2, self._left))):
            if unless():
                return False
            if self.is_over:
                return lock.acquire(blocking=False)
        return True

    def wait(self, event: _Event) -> bool:
        """Wait for an event; return False when the time is over."""
        while not event.wait(max(0.0, min(STEP / 2, self._left))):
            if self.is_over:
                return event.wait(0)
        return True
