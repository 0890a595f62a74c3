"""Time, and the two ways to run one pipeline: policies are written once as coroutines, and driven sync or async.

A sync pipeline is driven by sending `None` once: everything that its policies await (`proceed`, `call.runtime`) comes
back at once, because the sync runtime blocks instead of suspending. A policy that awaits anything else fails loudly.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from resilient_tasks.core import interrupt
from resilient_tasks.core.outcome import Failed, Ok, Outcome

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed

T = TypeVar("T")

#: A sleeping thread looks up this often (seconds), so that a cancelled run is not kept waiting.
SLICE = 0.1

Enforce = Literal["auto", "cooperative"]


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


class Runtime(Protocol):
    """What a policy may await, besides `proceed`."""

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Call `fn`, and give what came of it. Only an `Exception` becomes `Failed`: everything above flies past."""

    async def limit(
        self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce
    ) -> Outcome[Any] | interrupt.Overrun:
        """Proceed for at most `seconds`, and say where that did not end the work."""


class SyncRuntime:
    """Blocks the calling thread."""

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:  # time.sleep(0) alone costs more than a whole pipeline
            _clock.sleep(seconds)

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        try:
            return Ok(fn(*args, **kwargs))
        except Exception as error:
            return Failed(error)

    async def limit(
        self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce
    ) -> Outcome[Any] | interrupt.Overrun:
        if enforce == "cooperative":
            return await proceed(call)
        run = interrupt.by_signal if interrupt.signals_work_here() else interrupt.by_leaving_a_thread
        return run(call, lambda: drive(proceed(call)), seconds)


class AsyncRuntime:
    """Suspends the running task."""

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await _clock.asleep(seconds)

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        try:
            value = fn(*args, **kwargs)
            return Ok(await value if inspect.isawaitable(value) else value)
        except Exception as error:
            return Failed(error)

    async def limit(
        self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce
    ) -> Outcome[Any] | interrupt.Overrun:
        if enforce == "cooperative":
            return await proceed(call)
        return await interrupt.by_cancelling(call, proceed, seconds)


SYNC: Runtime = SyncRuntime()
ASYNC: Runtime = AsyncRuntime()


def drive(pipeline: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, and return its result.

    Raises:
        RuntimeError: it suspended, so some policy awaited something that a sync pipeline cannot give it.
    """
    try:
        pipeline.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    pipeline.close()
    msg = (
        "a policy suspended in a sync pipeline: policies await `proceed(call)` and `call.runtime` only."
        " Decorate an `async def` function if the policy needs more."
    )
    raise RuntimeError(msg)
