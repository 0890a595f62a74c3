"""Ending async work that takes too long: its task is cancelled.

While it is kept, a limit stands in a table of its event loop, which has one timer, wound for what is due first.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from resilient_tasks.core import real_time, starts
from resilient_tasks.core.interrupt import BLOCKED, LATE, SWALLOWED, Limit, Overrun, judged
from resilient_tasks.core.leftovers import Begun
from resilient_tasks.core.watch import NEVER

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call

T = TypeVar("T")

_now = real_time.monotonic
#: The timer of a loop rings so much (seconds) before its time.
_EARLY = 1e-4
#: To look through a long table takes its time: the next look comes after so many times as long, at the earliest.
_RESTS = 5


class _Table:
    """The limits that are kept in one event loop, by the tasks that have them, the first begun first.

    The loop keeps it, by its timer, and the work that has a limit does. Where a test freezes time, a new one begins.
    """

    __slots__ = ("__weakref__", "_timer", "clock", "frozen", "limits", "looks_at", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.frozen = real_time.is_frozen()
        ordinary = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time  # it goes by the same clock
        self.clock = _now if ordinary else real_time.clock_of(loop)
        self.limits: dict[Limit, asyncio.Task[Any]] = {}
        self.looks_at = NEVER
        self._timer: real_time.Timer | None = None

    def look_by(self, due: float) -> None:
        """Have the timer ring at `due` at the latest. Asked by the few limits that are nearer than all before them."""
        self.calm()
        self.looks_at = due
        self._timer = real_time.call_later(self.loop, max(0.0, due - self.clock()), self._ring)
        starts.watch()

    def calm(self) -> None:
        """Call the timer off."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.looks_at = None, NEVER

    def _ring(self) -> None:
        self.looks_at, now, began = NEVER, self.clock() + _EARLY, _now()
        limits = [limit for limit in [*self.limits] if not limit.rang]
        due = [limit for limit in limits if limit.rings <= now]
        if len(due) < len(limits):
            first = min(limit.rings for limit in limits if limit.rings > now)
            self.look_by(max(first, now + _RESTS * (_now() - began)))
        for limit in due:
            if (task := self.limits.get(limit)) is not None:
                _cancel(task, limit)


def _cancel(task: asyncio.Task[Any], limit: Limit) -> None:
    """Cancel the work. What it has begun is looked for first, while it can still be seen."""
    limit.rang = _now()
    limit.begun = Begun(limit.call, limit.began)
    limit.begun.apart_from(task)
    try:
        with contextlib.suppress(Exception):  # whatever a look at other people's objects meets with
            limit.begun.look()
    finally:
        task.cancel()


class _Here(threading.local):
    table: Callable[[], _Table | None] = staticmethod(lambda: None)


_here = _Here()


def _table_of(loop: asyncio.AbstractEventLoop) -> _Table:
    table = _here.table()
    frozen = not isinstance(time.monotonic, BuiltinFunctionType)
    if table is None or table.loop is not loop or table.frozen is not frozen:
        table = _Table(loop)
        _here.table = weakref.ref(table)
    return table


async def by_cancelling(  # noqa: C901  # the ways in which work can end, each named once
    work: Awaitable[T], seconds: float, call: Call
) -> T | Overrun:
    """Cancel the work at the limit. Code that blocks the event loop, or swallows the cancellation, is not stopped.

    Returns:
        what the work returns, or an `Overrun`. What it raises in time is raised.
    """
    task = asyncio.current_task()
    if task is None:
        msg = f"{call.operation} has a limit, and can be cancelled in a task of asyncio only"
        raise RuntimeError(msg)
    table, cancelling, limit = _table_of(task.get_loop()), task.cancelling(), Limit()
    limit.began = began = _now()
    limit.rings = due = began + seconds
    if table.clock is not _now:
        limit.rings = table.clock() + seconds
    limit.call, limit.rang = call, 0.0
    interrupted = False
    try:
        table.limits[limit] = task
        if limit.rings < table.looks_at:
            table.look_by(limit.rings)
        value = await work
    except asyncio.CancelledError:
        if not limit.rang:
            raise
        interrupted = True
        if task.uncancel() > cancelling:  # from outside, too
            raise
    except Exception:
        if not limit.rang and _now() <= due:
            raise
    finally:
        table.limits.pop(limit, None)
        if table.frozen and not table.limits:
            table.calm()
        if limit.rang and not interrupted and task.cancelling() > cancelling:
            task.uncancel()
    ended = _now()
    if limit.rang:
        return await _overrun(limit, due, ended, interrupted=interrupted)
    return value if ended <= due else Overrun(stopped=False, reason=BLOCKED)


async def _overrun(limit: Limit, due: float, ended: float, *, interrupted: bool) -> Overrun:
    for _ in range(3):  # tasks that the work has cancelled itself come to their end
        await asyncio.sleep(0)
    late = limit.rang - due > LATE
    overrun = Overrun(stopped=not late, reason=BLOCKED if late else "")
    if not interrupted:
        overrun = Overrun(stopped=False, reason=SWALLOWED)
    return judged(limit.call, limit.begun, overrun, after=ended - limit.rang)
