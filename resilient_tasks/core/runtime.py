"""The two ways to run one pipeline: policies are written once as coroutines, and driven sync or async.

A sync pipeline is driven by sending `None` once: everything that its policies await (`proceed`, `call.runtime`) comes
back at once, because the sync runtime blocks instead of suspending. A policy that awaits anything else fails loudly.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, cast

from resilient_tasks.core import clock, interrupt, race, threads
from resilient_tasks.core.call import Call, Enforce, Proceed, Runtime
from resilient_tasks.core.outcome import Failed, Ok, Outcome

T = TypeVar("T")


class SyncRuntime:
    """Blocks the calling thread."""

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:  # time.sleep(0) alone costs more than a whole pipeline
            clock.sleep(seconds)
        clock.check()

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

        def work() -> Outcome[Any]:
            call.work.thread = threading.get_ident()
            return drive(proceed(call))

        if interrupt.signals_work_here():
            return interrupt.by_signal(work, seconds, call)
        return threads.by_leaving_a_thread(work, seconds, call)

    async def race(
        self, begin: Callable[[int], Coroutine[Any, Any, Outcome[Any]]], *, most: int, after: float, name: str
    ) -> tuple[int, Outcome[Any]]:
        return race.in_threads(lambda number: drive(begin(number)), most=most, after=after, name=name)


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

    async def limit(
        self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce
    ) -> Outcome[Any] | interrupt.Overrun:
        if enforce == "cooperative":
            return await proceed(call)
        return await interrupt.by_cancelling(proceed(call), seconds, call)

    async def race(
        self, begin: Callable[[int], Coroutine[Any, Any, Outcome[Any]]], *, most: int, after: float, name: str
    ) -> tuple[int, Outcome[Any]]:
        return await race.in_tasks(begin, most=most, after=after, name=name)


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
        return cast("T", done.value)
    pipeline.close()
    msg = (
        "a policy suspended in a sync pipeline: policies await `proceed(call)` and `call.runtime` only."
        " Decorate an `async def` function if the policy needs more."
    )
    raise RuntimeError(msg)
