"""Ending async work that takes too long: its task is cancelled.

While it is kept, a limit stands in a table of its event loop, which has one timer, wound for what is due first.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from resilient_tasks.core.execution import real_time, starts
from resilient_tasks.core.execution.interrupt import BLOCKED, LATE, SWALLOWED, Limit, Overrun, judged
from resilient_tasks.core.execution.leftovers import Begun
from resilient_tasks.core.execution.watch import NEVER

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call
    from resilient_tasks.core.first_attempts import FirstAttempt

T = TypeVar("T")

_now = real_time.monotonic
#: The timer of a loop rings so much (seconds) before its time.
_EARLY = 1e-4
#: To look through a long table takes its time: the next look comes after so many times as long, at the earliest.
_RESTS = 5


class Table:
    """The limits that are kept in one event loop.

    The loop itself keeps it, as an attribute: it is found at once, and goes with the loop. Where a test freezes time, a
    new one begins.
    """

    __slots__ = ("_loop", "_timer", "clock", "limits", "looks_at", "time")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.time: Callable[[], float] = time.monotonic
        ordinary = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time  # it goes by the same clock
        self.clock: Callable[[], float] = _now if ordinary else real_time.clock_of(loop)
        self.limits: set[Limit | FirstAttempt] = _CalmSet(self) if real_time.is_frozen() else set()
        self.looks_at: float = NEVER
        self._timer: real_time.Timer | None = None

    def look_by(self, due: float) -> None:
        """Have the timer ring at `due` at the latest. Asked by the few limits that are nearer than all before them."""
        self.calm()
        self.looks_at = due
        self._timer = real_time.call_later(self._loop, max(0.0, due - self.clock()), self._ring)
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
        for limit in sorted(due, key=lambda limit: limit.began):
            if limit in self.limits:
                _cancel(limit)


class _CalmSet(set[Any]):
    """Where time is frozen, the timer is a thread: it is called off with the last limit."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def discard(self, limit: Any) -> None:
        super().discard(limit)
        if not self:
            self._table.calm()


def _cancel(limit: Limit | FirstAttempt) -> None:
    """Cancel the work. What it has begun is looked for first, while it can still be seen."""
    limit.rang = _now()
    limit.begun = Begun(limit.call, limit.began)
    limit.begun.apart_from(limit.task)
    try:
        with contextlib.suppress(Exception):  # whatever a look at other people's objects meets with
            limit.begun.look()
    finally:
        limit.task.cancel()


_running_loop: Callable[[], Any] = asyncio.get_running_loop
_current_task: Callable[[Any], asyncio.Task[Any] | None] = asyncio.current_task
if sys.version_info < (3, 12):  # from then on it is written in C: 20 ns instead of 50
    _current_task = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]  # noqa: SLF001  # all that it asks


def kept(limit: Limit | FirstAttempt, seconds: float, began: float) -> set[Limit | FirstAttempt]:
    """Prepare a limit for work in this task, which is over `seconds` after `began`.

    Returns:
        the limits that are kept in this loop: this one is from when it is put among them, until it is taken out.

    Raises:
        RuntimeError: there is no task of asyncio here.
    """
    loop = _running_loop()
    task = _current_task(loop)
    if task is None:
        msg = f"{limit.call.operation} has a limit, and can be cancelled in a task of asyncio only"
        raise RuntimeError(msg)
    try:
        table: Table = loop.resilient_tasks_limits
    except AttributeError:
        table = loop.resilient_tasks_limits = Table(loop)
    if table.time is not time.monotonic:
        table = loop.resilient_tasks_limits = Table(loop)
    limit.task = task
    limit.cancelling = task.cancelling()
    limit.rang = 0.0
    limit.began = began
    limit.rings = limit.due = due = began + seconds
    if table.clock is not _now:
        limit.rings = due = table.clock() + seconds
    if due < table.looks_at:
        table.look_by(due)
    return table.limits


async def by_cancelling(work: Awaitable[T], seconds: float, call: Call) -> T | Overrun:
    """Cancel the work at the limit. Code that blocks the event loop, or swallows the cancellation, is not stopped.

    Returns:
        what the work returns, or an `Overrun`. What it raises in time is raised.
    """
    limit = Limit()
    limit.call = call
    limits = kept(limit, seconds, _now())
    try:
        limits.add(limit)
        value = await work
    except BaseException as error:
        if (overrun := await came_of(limit, error)) is None:
            raise
        return overrun
    else:
        if not limit.rang and _now() <= limit.due:
            return value
        late = await came_of(limit)
        return value if late is None else late
    finally:
        limits.discard(limit)


async def came_of(limit: Limit | FirstAttempt, error: BaseException | None = None) -> Overrun | None:
    """Return the `Overrun` of work that has raised `error`, or came back late; None, if the error is to be raised."""
    if not limit.rang:
        if error is not None and (not isinstance(error, Exception) or _now() <= limit.due):
            return None
        return Overrun(stopped=False, reason=BLOCKED)
    ended, from_outside = _now(), False
    if limit.task.cancelling() > limit.cancelling:
        from_outside = limit.task.uncancel() > limit.cancelling
    interrupted = isinstance(error, asyncio.CancelledError)
    if error is not None and (from_outside if interrupted else not isinstance(error, Exception)):
        return None
    for _ in range(3):  # tasks that the work has cancelled itself come to their end
        await asyncio.sleep(0)
    late = limit.rang - limit.due > LATE
    overrun = Overrun(stopped=not late, reason=BLOCKED if late else "")
    if not interrupted:
        overrun = Overrun(stopped=False, reason=SWALLOWED)
    return judged(limit.call, limit.begun, overrun, after=ended - limit.rang)
