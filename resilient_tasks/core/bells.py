"""How one call wakes another that waits for it, whatever thread or event loop that one runs in."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Protocol, cast

from resilient_tasks.core import clock, real_time


class Bell(Protocol):
    """Wakes the one call that made it. To ring twice is to ring once, until it was heard."""

    def ring(self) -> None:
        """Wake the call; from any thread."""

    async def heard(self, seconds: float | None) -> None:
        """Wait for the next ring, for so many seconds of real time at the most."""


class ThreadBell:
    """Blocks the thread of a sync call."""

    def __init__(self) -> None:
        # A bare lock: what interrupts this thread in mid-wait can leave nothing half done in it.
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # it rings already
            self._silence.release()

    async def heard(self, seconds: float | None) -> None:
        # A cancelled run is told by a flag: see `clock.check`.
        self._silence.acquire(timeout=clock.SLICE if seconds is None else min(seconds, clock.SLICE))
        clock.check()


class LoopBell:
    """Suspends the task of an async call, in the event loop in which it was made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung: asyncio.Future[None] = self._loop.create_future()

    def ring(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing waits there
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._rung.done():
            self._rung.set_result(None)

    async def heard(self, seconds: float | None) -> None:
        if seconds is None and clock.is_watched():
            seconds = clock.SLICE
        rung = cast("asyncio.Task[None]", self._rung)  # a future is waited for like a task
        await real_time.first_of({rung}, seconds)
        if self._rung.done():
            self._rung = self._loop.create_future()
        clock.check()
