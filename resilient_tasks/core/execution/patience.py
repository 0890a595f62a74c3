"""How long a thread waits for what others hold, where a process that was stopped has not waited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from resilient_tasks.core.execution import real_time as time

#: Seconds that count between two looks at the clock at the most.
STEP = 0.02


class _Lock(Protocol):
    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool: ...  # noqa: FBT001, FBT002  # as in threading


class _Event(Protocol):
    def wait(self, timeout: float | None = None) -> bool: ...


class Patience:
    """Seconds that a thread waits for something, counted while its process runs.

    A frozen container, a virtual machine that moves or SIGSTOP lets the clock go on, and says nothing about what is
    waited for. So between two looks only so many seconds count, and a thread that waits looks more often than that.
    """

    __slots__ = ("_left", "_longest", "_looked")

    def __init__(self, seconds: float, longest: float = STEP) -> None:
        """Begin to wait for so many seconds, `longest` of which count between two looks at the most."""
        self._left = seconds
        self._longest = longest
        self._looked = time.monotonic()

    @property
    def left(self) -> float:
        """Look at the clock, and return the seconds that are left."""
        now = time.monotonic()
        self._left -= min(now - self._looked, self._longest)
        self._looked = now
        return self._left

    @property
    def is_over(self) -> bool:
        """Look at the clock, and tell whether the seconds are over."""
        return self.left <= 0

    def acquire(self, lock: _Lock, unless: Callable[[], bool] = bool) -> bool:
        """Acquire a lock, or return False once the seconds are over, or `unless` says that it is of no use any more."""
        while not lock.acquire(timeout=max(0.0, min(STEP / 2, self._left))):
            if unless():
                return False
            if self.is_over:
                return lock.acquire(blocking=False)
        return True

    def wait(self, event: _Event) -> bool:
        """Wait for an event, or return False once the seconds are over."""
        while not event.wait(max(0.0, min(STEP / 2, self._left))):
            if self.is_over:
                return event.wait(0)
        return True
