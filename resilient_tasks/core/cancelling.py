"""Ending async work that takes too long: its task is cancelled.

A limit costs next to nothing while it is kept: it stands in the table of its event loop, which has one timer for all of
them, wound for the one that is due first.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import real_time, starts
from resilient_tasks.core.interrupt import BLOCKED, LATE, SWALLOWED, Overrun, judged
from resilient_tasks.core.leftovers import Begun
from resilient_tasks.core.watch import NEVER

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call


class _Limit:
    """A limit that is being kept in a task.

    Attributes:
        began: when the work did, on `monotonic`.
        due: when the work is to be cancelled, on the loop's clock.
        rang: when it was, on `monotonic`; 0.0 before.
        task: the task.
        call: the attempt.
        begun: what the attempt had begun when it was cancelled.
    """

    __slots__ = ("began", "begun", "call", "due", "rang", "task")

    began: float
    due: float
    rang: float
    task: asyncio.Task[Any]
    call: Call
    begun: Begun

    def ring(self) -> None:
        """Cancel the work. What it has begun is looked for first, while it can still be seen."""
        self.rang = _now()
        self.begun = Begun(self.call, self.began)
        self.begun.apart_from(self.task)
        try:
            with contextlib.suppress(Exception):  # whatever a look at other people's objects met with
                self.begun.look()
        finally:
            self.task.cancel()


class _Table:
    """The limits that are kept in one event loop, the first begun first.

    The loop keeps it, by its timer, and the work that has a limit does.

    Attributes:
        clock: the loop's own, which goes as `monotonic` does but in a loop that makes its own time.
        looks_at: when the timer rings.
    """

    __slots__ = ("__weakref__", "_timer", "clock", "frozen", "limits", "looks_at", "loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.limits: dict[_Limit, None] = {}
        self.looks_at = NEVER
        self._timer: real_time.Timer | None = None
        self.go_by_time_of_loop()

    def go_by_time_of_loop(self) -> None:
        """Go by the time that the loop has now, and wind the timer by it."""
        own = getattr(self.loop.time, "__func__", None) is asyncio.BaseEventLoop.time
        at, self.frozen = self.looks_at, real_time.is_frozen()
        self.clock: Callable[[], float] = _now if own else real_time.clock_of(self.loop)
        self.calm()
        if at < NEVER:
            self.look_by(at)

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
        due = [limit for limit in limits if limit.due <= now]
        if len(due) < len(limits):
            first = min(limit.due for limit in limits if limit.due > now)
            self.look_by(max(first, now + _RESTS * (_now() - began)))
        for limit in due:
            limit.ring()


_now = real_time.monotonic
#: A loop's timers ring so much (seconds) before their time.
_EARLY = 1e-4
#: Looking through a long table takes its time: the next look comes after so many times as long, at the earliest.
_RESTS = 5


class _Here(threading.local):
    table: Callable[[], _Table | None] = staticmethod(lambda: None)


_here = _Here()


def _table_of(loop: asyncio.AbstractEventLoop) -> _Table:
    table = _here.table()
    if table is None or table.loop is not loop:
        table = _Table(loop)
        _here.table = weakref.ref(table)
    elif table.frozen is isinstance(time.monotonic, BuiltinFunctionType):  # a test has frozen time, or lets it go on
        table.go_by_time_of_loop()
    return table


async def by_cancelling(work: Awaitable[Any], seconds: float, call: Call) -> Any:
    """Cancel the work at the limit. Code that blocks the event loop, or swallows the cancellation, is not stopped.

    Returns:
        what the work returns, or an `Overrun`.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task(loop)
    if task is None:
        msg = f"{call.operation} has a limit, and can be cancelled in a task of asyncio only"
        raise RuntimeError(msg)
    table, cancelling, limit = _table_of(loop), task.cancelling(), _Limit()
    limit.task, limit.call, limit.rang = task, call, 0.0
    limit.began = began = _now()
    limit.due = due = (began if table.clock is _now else table.clock()) + seconds
    interrupted = False
    try:
        table.limits[limit] = None
        if due < table.looks_at:
            table.look_by(due)
        value = await work
    except asyncio.CancelledError:
        if not limit.rang or task.uncancel() > cancelling:
            raise
        interrupted = True
    finally:
        table.limits.pop(limit, None)
        if table.frozen and not table.limits:
            table.calm()
        if limit.rang and not interrupted and task.cancelling() > cancelling:
            task.uncancel()
    ended = _now()
    if limit.rang:
        return await _overrun(limit, began + seconds, ended, interrupted=interrupted)
    return value if ended <= began + seconds else Overrun(stopped=False, reason=BLOCKED)


async def _overrun(limit: _Limit, due: float, ended: float, *, interrupted: bool) -> Overrun:
    for _ in range(3):  # tasks that the work has cancelled itself come to their end
        await asyncio.sleep(0)
    late = limit.rang - due > LATE
    overrun = Overrun(stopped=not late, reason=BLOCKED if late else "")
    if not interrupted:
        overrun = Overrun(stopped=False, reason=SWALLOWED)
    return judged(limit.call, limit.begun, overrun, after=ended - limit.rang)
