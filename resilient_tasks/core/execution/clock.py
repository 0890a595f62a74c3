"""The clock. Every policy gets the time here, so that a test can let an hour pass instantly."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar, Protocol

from resilient_tasks.core import host
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import real_time

#: A sleeping thread checks for a cancelled run this often (seconds).
SLICE = 0.1


class Clock(Protocol):
    """A source of time."""

    def now(self) -> float:
        """Return seconds on a monotonic clock."""

    def wall(self) -> float:
        """Return unix seconds, which processes and machines share."""

    def sleep(self, seconds: float) -> None:
        """Block this thread."""

    async def asleep(self, seconds: float) -> None:
        """Suspend this coroutine."""


class SystemClock:
    """The machine's time."""

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
        if check is None:  # only cancelling the coroutine can end the wait
            await real_time.pause(seconds)
            return
        until = real_time.monotonic() + seconds
        while (left := until - real_time.monotonic()) > 0:
            check()
            await real_time.pause(min(left, SLICE))


#: The machine's `now`; identical to `present` while no other clock is in use.
machine: Callable[[], float] = real_time.monotonic
_clock: Clock = SystemClock()
_METHODS = ("now", "wall", "sleep", "asleep")


def is_watched() -> bool:
    """Return whether a flag can cancel the run of this context, so that waits have to check for it."""
    return host.current.watch() is not None


def check() -> None:
    """Raise if the run of this context is cancelled: it begins no further attempt."""
    raise_if_cancelled = host.current.watch()
    if raise_if_cancelled is not None:
        raise_if_cancelled()


#: The clock's own `now`, which saves a call. It changes with the clock in use, so call it as `clock.present()`.
present: Callable[[], float] = _clock.now


def now() -> float:
    """Return the time on the clock in use, in seconds."""
    return present()


def wall() -> float:
    """Return the time on the clock in use, in unix seconds."""
    return _clock.wall()


@contextmanager
def use_clock(clock: Clock) -> Iterator[None]:
    """Make every call of this process use `clock` inside the block.

    Raises:
        PolicyError: `clock` is not a clock.
    """
    if isinstance(clock, type) or not all(callable(getattr(clock, name, None)) for name in _METHODS):
        given = f"the class {clock.__name__}: write {clock.__name__}()" if isinstance(clock, type) else repr(clock)
        msg = f"use_clock takes a clock such as VirtualClock(), not {given}"
        raise PolicyError(msg)
    before = _clock
    _set_clock(clock)
    try:
        yield
    finally:
        _set_clock(before)


def _set_clock(clock: Clock) -> None:
    global _clock, present  # one clock for the process: worker threads must see it, too
    _clock, present = clock, clock.now


def sleep(seconds: float) -> None:
    """Block this thread, on the clock in use."""
    _clock.sleep(seconds)


async def asleep(seconds: float) -> None:
    """Suspend this coroutine, on the clock in use."""
    await _clock.asleep(seconds)
