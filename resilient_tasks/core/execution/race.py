"""The same work several times side by side: the first good outcome wins."""

from __future__ import annotations

import asyncio
import functools
import queue
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.execution import abandoned, leftovers, real_time
from resilient_tasks.core.execution.clock import SLICE
from resilient_tasks.core.execution.spare_threads import SpareThread, have_done
from resilient_tasks.core.outcome import Failed

if TYPE_CHECKING:
    from resilient_tasks.core.outcome import Outcome


class _Turn:
    """When a race is to be looked at again. `asyncio.wait` would take a step of the loop more, and twice the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._over: asyncio.Future[None] = loop.create_future()

    def has_come(self, _: object = None) -> None:
        """End the wait."""
        if not self._over.done():
            self._over.set_result(None)

    async def comes(self, seconds: float | None) -> None:
        """Wait, for so many seconds at the most."""
        timer = None if seconds is None else real_time.call_later(self._loop, seconds, self.has_come)
        try:
            await self._over
        finally:
            if timer is not None:
                timer.cancel()
        self._over = self._loop.create_future()


async def in_tasks(
    begin: Callable[[int], Coroutine[Any, Any, Outcome[Any]]],
    *,
    most: int,
    after: float,
    more: Callable[[int], float],
    name: str,
) -> tuple[int, Outcome[Any]]:
    """Await them in tasks of this event loop; those that lose are cancelled. See `Runtime.race`."""
    loop = asyncio.get_running_loop()
    now = real_time.clock_of(loop)
    running: dict[asyncio.Task[Outcome[Any]], int] = {}
    started, next_at = 0, now()
    turn = _Turn(loop)

    async def run(number: int) -> Outcome[Any]:
        try:
            return await begin(number)
        finally:
            turn.has_come()  # a step of the loop earlier than a task tells that it is done

    try:
        while True:
            if started < most and now() >= next_at:
                if started and (longer := more(started)) > 0:
                    next_at = now() + longer
                    continue
                started, next_at = started + 1, now() + after
                task = loop.create_task(run(started), name=f"resilient:{name}-{started}")
                task.add_done_callback(turn.has_come)  # it may be cancelled before it begins
                running[task] = started
            await turn.comes(None if started == most else max(0.0, next_at - now()))
            for task in [task for task in running if task.done()]:
                number, outcome = running.pop(task), task.result()
                if not isinstance(outcome, Failed) or not running:
                    return number, outcome
    finally:
        for task in running:
            task.add_done_callback(functools.partial(_lost, begun=leftovers.under(task), name=name))
            task.cancel()


def _lost(task: asyncio.Task[Any], *, begun: leftovers.Begun | None, name: str) -> None:
    """Look at what came of a loser, or asyncio would report an error; what it has begun and runs on is abandoned."""
    if not task.cancelled():
        task.exception()
    if begun is not None:
        abandoned.add_leftovers([piece for piece in begun.running() if piece.known], name)


def in_threads(
    begin: Callable[[int], Outcome[Any]], *, most: int, after: float, more: Callable[[int], float], name: str
) -> tuple[int, Outcome[Any]]:
    """Do them in threads of their own; those that lose are left behind. See `Runtime.race`.

    The threads see this thread's context variables; what they write to them is lost. They may have done other calls
    before, and hold the thread-locals of those.
    """
    ended: queue.SimpleQueue[tuple[int, Outcome[Any] | BaseException]] = queue.SimpleQueue()
    running: dict[int, SpareThread] = {}
    over: set[int] = set()
    started, next_at = 0, real_time.monotonic()

    def run(number: int) -> None:
        try:
            ended.put((number, begin(number)))
        except BaseException as error:  # raised again in the caller's thread
            ended.put((number, error))
        over.add(number)
        abandoned.thread_ended()

    try:
        while True:
            if started < most and real_time.monotonic() >= next_at:
                if started and (longer := more(started)) > 0:
                    next_at = real_time.monotonic() + longer
                    continue
                started, next_at = started + 1, real_time.monotonic() + after
                running[started] = have_done(f"resilient:{name}-hedge-{started}", functools.partial(run, started))
            try:
                left = SLICE if started == most else max(0.0, min(SLICE, next_at - real_time.monotonic()))
                number, outcome = ended.get(timeout=left)
            except queue.Empty:
                continue
            del running[number]
            if isinstance(outcome, BaseException):
                raise outcome
            if not isinstance(outcome, Failed) or not running:
                return number, outcome
    finally:
        for number, thread in running.items():
            thread.left = True
            abandoned.add_thread(thread, name, is_over=lambda number=number: number in over)  # type: ignore[misc]
