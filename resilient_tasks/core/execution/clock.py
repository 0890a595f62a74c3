"""Where time comes from. Every policy takes it from here, so that a test can let an hour pass at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

from resilient_tasks.core import host
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import real_time

#: A sleeping thread looks up this often (seconds), so that a cancelled run is not kept waiting.
SLICE = 0.1


class Clock(Protocol):
    """Where time comes from, and how it passes."""

    def now(self) -> float:
        """Return seconds on a clock that never runs backwards."""

    def wall(self) -> float:
        """Return unix seconds: what processes and machines agree on."""

    def sleep(self, seconds: float) -> None:
        """Block this thread for so long."""

    async def asleep(self, seconds: float) -> None:
        """Suspend this coroutine for so long."""


class SystemClock:
    """The machine's own time."""

    now: ClassVar[staticmethod[[], float]] = staticmethod(real_time.monotonic)
    wall: ClassVar[staticmethod[[], float]] = staticmethod(real_time.time)

    def sleep(self, seconds: float) -> None:
        check = host.current.watch()
        until = real_time.monotonic() + seconds
        while (left := until - real_time.monotonic()) > 0:
            if check is not None:
                check()
            real_time.sleep(min(left, SLICE))

    async def asleep(self, seconds: float) -> None:
        check = host.current.watch()
        if check is None:  # cancelling the coroutine is all that can end it
            await real_time.pause(seconds)
            return
        until = real_time.monotonic() + seconds
        while (left := until - real_time.monotonic()) > 0:
            check()
            await real_time.pause(min(left, SLICE))


#: The machine's own present. It is `present` itself, while no other clock is in use.
machine: Callable[[], float] = real_time.monotonic
_clock: Clock = SystemClock()
_METHODS = ("now", "wall", "sleep", "asleep")


def is_watched() -> bool:
    """Tell whether a flag may end the waits of this context: whoever waits has to look up for it."""
    return host.current.watch() is not None


def check() -> None:
    """Raise if the run of this context is cancelled: no attempt begins in it any more."""
    cancelled = host.current.watch()
    if cancelled is not None:
        cancelled()


#: The clock's own function for what `now` returns: a look at the time that costs one call less. It is another one while
#: another clock is in use, so call it as `clock.present()`.
present: Callable[[], float] = _clock.now


def now() -> float:
    """Return the present on the clock in use, in seconds."""
    return present()


def wall() -> float:
    """Return the present on the clock in use, in unix seconds."""
    return _clock.wall()


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Have every call of this process go by `clock` inside the block.

    Raises:
        PolicyError: `clock` is none.
    """
    if isinstance(clock, type) or not all(callable(getattr(clock, name, None)) for name in _METHODS):
        given = f"the class {clock.__name__}: write {clock.__name__}()" if isinstance(clock, type) else repr(clock)
        msg = f"use_clock takes a clock such as VirtualClock(), not {given}"
        raise PolicyError(msg)
    before = _clock
    _go_by(clock)
    try:
        yield
    finally:
        _go_by(before)


def _go_by(clock: Clock) -> None:
    global _clock, present  # time is one for the process: worker threads must see it too
    _clock, present = clock, clock.now


def sleep(seconds: float) -> None:
    """Block this thread for so long on the clock in use."""
    _clock.sleep(seconds)


async def asleep(seconds: float) -> None:
    """Suspend this coroutine for so long on the clock in use."""
    await _clock.asleep(seconds)
