"""End async work that exceeds its limit by cancelling its task.

An active limit is kept in a table of its event loop, which has one timer, set for the earliest limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from resilient_tasks.core.execution import real_time, thread_starts
from resilient_tasks.core.execution.interrupt import BLOCKED, LATE, SWALLOWED, Limit, Overrun, with_leftovers
from resilient_tasks.core.execution.leftovers import Leftovers
from resilient_tasks.core.execution.watch import NEVER

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call
    from resilient_tasks.core.first_attempts import FirstAttempt

T = TypeVar("T")

_now = real_time.monotonic
#: The timer of a loop may ring this early (seconds).
_EARLY = 1e-4
#: Scanning a long table takes time: the pause before the next scan is at least this many times as long.
_PAUSE_PER_SCAN = 5


class Table:
    """The active limits of one event loop.

    It is an attribute of the loop, so that it is found quickly and goes with the loop. If a test freezes time, a new
    table begins.
    """

    __slots__ = ("_loop", "_timer", "clock", "limits", "looks_at", "time")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.time: Callable[[], float] = time.monotonic
        ordinary = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time  # the same clock
        self.clock: Callable[[], float] = _now if ordinary else real_time.clock_of(loop)
        self.limits: set[Limit | FirstAttempt] = _TimerCancellingSet(self) if real_time.is_frozen() else set()
        self.looks_at: float = NEVER
        self._timer: real_time.Timer | None = None

    def look_by(self, due: float) -> None:
        """Have the timer ring at `due` at the latest. Only needed for a limit earlier than all others."""
        self.cancel_timer()
        self.looks_at = due
        self._timer = real_time.call_later(self._loop, max(0.0, due - self.clock()), self._ring)
        thread_starts.watch()

    def cancel_timer(self) -> None:
        """Cancel the timer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.looks_at = None, NEVER

    def _ring(self) -> None:
        self.looks_at, now, began = NEVER, self.clock() + _EARLY, _now()
        limits = [limit for limit in [*self.limits] if not limit.rang]
        due = [limit for limit in limits if limit.rings <= now]
        if len(due) < len(limits):
            first = min(limit.rings for limit in limits if limit.rings > now)
            self.look_by(max(first, now + _PAUSE_PER_SCAN * (_now() - began)))
        for limit in sorted(due, key=lambda limit: limit.began):
            if limit in self.limits:
                _cancel(limit)


class _TimerCancellingSet(set[Any]):
    """While time is frozen, the timer is a thread, which has to be cancelled with the last limit."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self._table = table

    def discard(self, limit: Any) -> None:
        super().discard(limit)
        if not self:
            self._table.cancel_timer()


def _cancel(limit: Limit | FirstAttempt) -> None:
    """Cancel the work. Look for what it has started before that, while it can still be seen."""
    limit.rang = _now()
    limit.leftovers = Leftovers(limit.call, limit.began)
    limit.leftovers.exclude(limit.task)
    try:
        with contextlib.suppress(Exception):  # foreign objects may raise anything
            limit.leftovers.look()
    finally:
        limit.task.cancel()


_running_loop: Callable[[], Any] = asyncio.get_running_loop
_current_task: Callable[[Any], asyncio.Task[Any] | None] = asyncio.current_task
if sys.version_info < (3, 12):  # later versions have it in C: 20 ns instead of 50
    _current_task = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]  # noqa: SLF001  # all that it reads


def prepare(limit: Limit | FirstAttempt, seconds: float, began: float) -> set[Limit | FirstAttempt]:
    """Prepare a limit, `seconds` after `began`, for work in this task.

    Returns:
        the active limits of this loop: add the limit to activate it, and discard it to end it.

    Raises:
        RuntimeError: there is no asyncio task here.
    """
    loop = _running_loop()
    task = _current_task(loop)
    if task is None:
        msg = f"{limit.call.operation} has a limit, which needs an asyncio task to cancel, and runs in none"
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
    """Await the work, and cancel it at the limit. That does not stop code that blocks the loop or swallows it.

    Returns:
        the result of the work, or an `Overrun`. An error raised in time propagates.
    """
    limit = Limit()
    limit.call = call
    try:
        limits = prepare(limit, seconds, _now())
    except RuntimeError:
        if inspect.iscoroutine(work):
            work.close()  # Python warns about one that is never awaited
        raise
    try:
        limits.add(limit)
        value = await work
    except BaseException as error:
        if (overrun := await overrun_of(limit, error)) is None:
            raise
        return overrun
    else:
        if not limit.rang and _now() <= limit.due:
            return value
        late = await overrun_of(limit)
        return value if late is None else late
    finally:
        limits.discard(limit)


async def overrun_of(limit: Limit | FirstAttempt, error: BaseException | None = None) -> Overrun | None:
    """Return the `Overrun` of work that raised `error` or returned late; None if the error should propagate."""
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
    for _ in range(3):  # let tasks that the work has cancelled end
        await asyncio.sleep(0)
    late = limit.rang - limit.due > LATE
    overrun = Overrun(stopped=not late, reason=BLOCKED if late else "")
    if not interrupted:
        overrun = Overrun(stopped=False, reason=SWALLOWED)
    return with_leftovers(limit.call, limit.leftovers, overrun, after=ended - limit.rang)
