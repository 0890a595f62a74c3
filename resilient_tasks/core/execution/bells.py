"""Wake a waiting call from another, in any thread or event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Protocol, cast

from resilient_tasks.core.execution import clock, real_time


class Bell(Protocol):
    """Wakes the call that created it. Two rings before a wait count as one."""

    def ring(self) -> None:
        """Wake the call; from any thread."""

    async def wait(self, seconds: float | None) -> None:
        """Wait for the next ring, at most `seconds` of real time."""


class ThreadBell:
    """Blocks the thread of a sync call."""

    def __init__(self) -> None:
        # A bare lock: an interrupt during the wait leaves no half-changed state in it.
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # already ringing
            self._silence.release()

    async def wait(self, seconds: float | None) -> None:
        # In slices, because a flag may cancel the run: see `clock.check`.
        self._silence.acquire(timeout=clock.SLICE if seconds is None else min(seconds, clock.SLICE))
        clock.check()


class LoopBell:
    """Suspends the task of an async call, in the event loop in which it was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung: asyncio.Future[None] = self._loop.create_future()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and no call waits
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._rung.done():
            self._rung.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        if seconds is None and clock.is_watched():
            seconds = clock.SLICE
        rung = cast("asyncio.Task[None]", self._rung)  # `first_of` accepts a future, too
        await real_time.first_of({rung}, seconds)
        if self._rung.done():
            self._rung = self._loop.create_future()
        clock.check()
