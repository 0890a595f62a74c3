"""Where time comes from. Every policy takes it from here, so that a test can let an hour pass at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

#: A sleeping thread looks up this often (seconds), so that a cancelled run is not kept waiting.
SLICE = 0.1


class Clock(Protocol):
    """Where time comes from, and how it passes."""

    def now(self) -> float:
        """Return seconds on a clock that never runs backwards."""

    def sleep(self, seconds: float) -> None:
        """Block this thread for so long."""

    async def asleep(self, seconds: float) -> None:
        """Suspend this coroutine for so long."""


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, SLICE))

    async def asleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


_clock: Clock = SystemClock()


def now() -> float:
    """Return the present on the clock in use, in seconds."""
    return _clock.now()


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Have every call of this process go by `clock` inside the block."""
    global _clock  # noqa: PLW0603  # time is one for the process: worker threads must see it too
    before, _clock = _clock, clock
    try:
        yield
    finally:
        _clock = before


def sleep(seconds: float) -> None:
    """Block this thread for so long on the clock in use."""
    _clock.sleep(seconds)


async def asleep(seconds: float) -> None:
    """Suspend this coroutine for so long on the clock in use."""
    await _clock.asleep(seconds)
