"""Run the same work several times in parallel: the first success wins."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.execution import abandoned, leftovers, real_time
from resilient_tasks.core.execution.clock import SLICE
from resilient_tasks.core.outcome import Failed

if TYPE_CHECKING:
    from resilient_tasks.core.outcome import Outcome


class _Wakeup:
    """Wakes a race. `asyncio.wait` would take one more step of the loop, and twice the time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._over: asyncio.Future[None] = loop.create_future()

    def wake(self, _: object = None) -> None:
        """End the wait."""
        if not self._over.done():
            self._over.set_result(None)

    async def wait(self, seconds: float | None) -> None:
        """Wait for at most `seconds`."""
        timer = None if seconds is None else real_time.call_later(self._loop, seconds, self.wake)
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
    """Race in tasks of this event loop; cancel the losers. See `Runtime.race`."""
    loop = asyncio.get_running_loop()
    now = real_time.clock_of(loop)
    running: dict[asyncio.Task[Outcome[Any]], int] = {}
    started, next_at = 0, now()
    wakeup = _Wakeup(loop)

    async def run(number: int) -> Outcome[Any]:
        try:
            return await begin(number)
        finally:
            wakeup.wake()  # a step of the loop earlier than the task's callback

    try:
        while True:
            if started < most and now() >= next_at:
                if started and (longer := more(started)) > 0:
                    next_at = now() + longer
                    continue
                started, next_at = started + 1, now() + after
                task = loop.create_task(run(started), name=f"resilient:{name}-{started}")
                task.add_done_callback(wakeup.wake)  # it may be cancelled before it begins
                running[task] = started
            await wakeup.wait(None if started == most else max(0.0, next_at - now()))
            for task in [task for task in running if task.done()]:
                number, outcome = running.pop(task), task.result()
                if not isinstance(outcome, Failed) or not running:
                    return number, outcome
    finally:
        for task in running:
            task.add_done_callback(functools.partial(_lost, left=leftovers.leftovers_of(task), name=name))
            task.cancel()


def _lost(task: asyncio.Task[Any], *, left: leftovers.Leftovers | None, name: str) -> None:
    """Retrieve a loser's error, which asyncio would log otherwise, and list its leftovers as abandoned."""
    if not task.cancelled():
        task.exception()
    if left is not None:
        abandoned.add_leftovers([each for each in left.running() if each.known], name)


def in_threads(
    begin: Callable[[int], Outcome[Any]], *, most: int, after: float, more: Callable[[int], float], name: str
) -> tuple[int, Outcome[Any]]:
    """Race in threads; abandon the losers. See `Runtime.race`.

    The threads see a copy of this thread's context variables. They may have served other calls before, and keep the
    thread-locals of those.
    """
    ended: queue.SimpleQueue[tuple[int, Outcome[Any] | BaseException]] = queue.SimpleQueue()
    running: dict[int, _WorkerThread] = {}
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
                running[started] = _in_worker_thread(
                    f"resilient:{name}-hedge-{started}", functools.partial(run, started)
                )
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
            thread.is_abandoned = True
            abandoned.add_thread(thread, name, is_over=lambda number=number: number in over)  # type: ignore[misc]


#: Seconds for which an idle thread waits for more work: starting one costs more than waking one.
_IDLE_SECONDS = 10.0

_idle: list[_WorkerThread] = []


class _WorkerThread(threading.Thread):
    """A reusable thread. Each work runs in the context of its caller.

    Attributes:
        is_abandoned: it ends with its work, and serves no other call.
        todo: the work that it waits for.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.is_abandoned = False
        self.todo: queue.SimpleQueue[tuple[contextvars.Context, Callable[[], None]]] = queue.SimpleQueue()

    def run(self) -> None:
        while True:
            try:
                context, work = self.todo.get(timeout=_IDLE_SECONDS)
            except queue.Empty:
                try:
                    _idle.remove(self)
                except ValueError:  # it has just been taken
                    continue
                return
            context.run(work)
            del context, work
            if self.is_abandoned:
                return
            _idle.append(self)


def _in_worker_thread(name: str, work: Callable[[], None]) -> _WorkerThread:
    """Run `work`, which must not raise, in a thread with a copy of this thread's context; return the thread."""
    try:
        thread = _idle.pop()
    except IndexError:
        thread = _WorkerThread()
        thread.start()
    thread.name = name
    thread.todo.put((contextvars.copy_context(), work))
    return thread


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)
