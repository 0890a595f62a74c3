"""Run a pipeline sync or async: policies are coroutines, written once for both.

A sync pipeline is driven by sending `None` once: whatever its policies await (`proceed`, `call.runtime`) returns
immediately, because the sync runtime blocks instead of suspending. Awaiting anything else raises `RuntimeError`.

If a sync function returns an awaitable, its pipeline pauses: the caller gets an awaitable too, and the rest of the
pipeline runs async when that is awaited (see `outcome.Rest`).
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from resilient_tasks import core
from resilient_tasks.core import wording
from resilient_tasks.core.call import Begun, Call, Enforce, Later, Proceed, Runtime
from resilient_tasks.core.execution import clock, real_time
from resilient_tasks.core.outcome import PAUSE, Failed, Ok, Outcome, Rest, pause
from resilient_tasks.core.parameters import callables

if TYPE_CHECKING:
    from resilient_tasks.core.execution.interrupt import Overrun

T = TypeVar("T")


class SyncRuntime:
    """Blocks the calling thread."""

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:  # time.sleep(0) alone costs more than a whole pipeline
            clock.sleep(seconds)
        clock.check()

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Call `fn`, which is not the call's own function and must not return an awaitable."""
        try:
            value = fn(*args, **kwargs)
        except Exception as error:
            return Failed(error)
        if type(value) not in callables.PLAIN and callables.comes_later(value):
            return Failed(
                callables.refused(value, f"a sync call cannot await what {wording.short_name_of(fn)} returns")
            )
        return Ok(value)

    def begin(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Begun:
        try:
            value = fn(*args, **kwargs)
        except Exception as error:
            return Failed(error)
        if type(value) not in callables.PLAIN and callables.comes_later(value):
            return deferred(fn, value)
        return Ok(value)

    async def limit(self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce) -> Outcome[Any] | Overrun:
        if enforce == "cooperative":
            return await proceed(call)
        until = real_time.monotonic() + seconds

        def work() -> Outcome[Any]:
            call.work.thread = threading.get_ident()
            return drive(proceed(call))

        ended = core.execution.limits.in_time(work, seconds, call)
        if isinstance(ended, Rest):
            await pause()
            return await core.execution.limits.in_time_async(ended, max(0.0, until - real_time.monotonic()), call)
        return ended

    async def race(
        self,
        begin: Callable[[int], Coroutine[Any, Any, Outcome[Any]]],
        *,
        most: int,
        after: float,
        more: Callable[[int], float],
        name: str,
    ) -> tuple[int, Outcome[Any]]:
        number, ended = core.execution.race.in_threads(
            lambda number: drive(begin(number)), most=most, after=after, more=more, name=name
        )
        if not isinstance(ended, Rest):
            return number, ended
        await pause()

        def go_on(number: int) -> Coroutine[Any, Any, Outcome[Any]]:
            return _outcome(ended if number == 1 else drive(begin(number)))

        return await core.execution.race.in_tasks(go_on, most=most, after=after, more=more, name=name)


class ItemRuntime(SyncRuntime):
    """For the steps of a generator: an awaitable item is passed on as it is."""

    def begin(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Begun:
        try:
            return Ok(fn(*args, **kwargs))
        except Exception as error:
            return Failed(error)


class StrictRuntime(SyncRuntime):
    """For callers that await nothing, such as an orchestrator of a sync function: refuses an awaitable."""

    def begin(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Begun:
        return self.invoke(fn, args, kwargs)


async def _outcome(ended: Outcome[Any]) -> Outcome[Any]:
    return await ended if isinstance(ended, Rest) else ended


def deferred(fn: Callable[..., Any], value: Any) -> Failed | Later:
    """Wrap an awaitable that `fn` has returned; refuse an async generator."""
    if type(value) is AsyncGeneratorType:
        name = wording.short_name_of(fn)
        sentence = f"{name} returns an async generator, whose items no policy covers: decorate the generator function"
        return Failed(callables.refused(value, sentence))
    return Later(value, ASYNC)


class AsyncRuntime:
    """Suspends the running task."""

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await clock.asleep(seconds)
        clock.check()

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        try:
            value = fn(*args, **kwargs)
            return Ok(await value if inspect.isawaitable(value) else value)
        except Exception as error:
            return Failed(error)

    begin = invoke

    async def limit(self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce) -> Outcome[Any] | Overrun:
        if enforce == "cooperative":
            return await proceed(call)
        return await core.execution.limits.in_time_async(proceed(call), seconds, call)

    async def race(
        self,
        begin: Callable[[int], Coroutine[Any, Any, Outcome[Any]]],
        *,
        most: int,
        after: float,
        more: Callable[[int], float],
        name: str,
    ) -> tuple[int, Outcome[Any]]:
        return await core.execution.race.in_tasks(begin, most=most, after=after, more=more, name=name)


SYNC: Runtime = SyncRuntime()
ITEMS: Runtime = ItemRuntime()
STRICT: Runtime = StrictRuntime()
ASYNC: Runtime = AsyncRuntime()


def drive(pipeline: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends and return its result; if it pauses, return a `Rest` instead.

    Raises:
        RuntimeError: it suspended: a policy awaited something other than `proceed` and `call.runtime`.
    """
    try:
        paused = pipeline.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    if paused is PAUSE:
        return cast("T", Rest(cast("Any", pipeline)))
    pipeline.close()
    msg = (
        "a policy suspended in a sync pipeline: policies await `proceed(call)` and `call.runtime` only."
        " Decorate an `async def` function if the policy needs more."
    )
    raise RuntimeError(msg)


def ended(pipeline: Coroutine[Any, Any, Outcome[T]]) -> Outcome[T] | Coroutine[Any, Any, Outcome[T]]:
    """Drive a sync pipeline and return its outcome; if it pauses, a coroutine of the outcome."""
    outcome = drive(pipeline)
    return outcome.outcome() if isinstance(outcome, Rest) else outcome
